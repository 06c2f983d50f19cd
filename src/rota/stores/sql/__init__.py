"""The store on SQL databases."""
