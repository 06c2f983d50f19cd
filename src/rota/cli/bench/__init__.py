"""`rota bench`: what this machine does with Rota."""
