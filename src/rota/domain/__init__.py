"""The rules of scheduling: pure values and functions, standard library only, no clock and no I/O."""
