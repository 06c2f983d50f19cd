from hypothesis import settings

# No deadline: a slow or shared machine is no fault of the code, and a failure must be the same everywhere.
settings.register_profile("rota", deadline=None, print_blob=True)
settings.load_profile("rota")
