"""What PostgreSQL needs beside the SQL code that all databases share."""
