"""The Python interface for programs that submit and follow runs."""
