"""What bodies, filters and answers look like."""
