"""Work that keeps a processor busy: it belongs into a process of its own, where it can be stopped."""

from math import isqrt

from rota import Cancel, Context

STEPS = 100


def count_primes(context: Context, limit: int = 5_000_000) -> int:
    """Count the primes below a limit, the slow way."""
    found = 0
    for step in range(STEPS):
        context.progress(f"{step} %")
        if context.cancelled:
            raise Cancel(f"stopped at {step} %, {found} primes found")
        found += sum(map(is_prime, range(limit * step // STEPS, limit * (step + 1) // STEPS)))
    print(f"{found} primes below {limit}")
    return found


def is_prime(number: int) -> bool:
    """Whether only 1 and the number itself divide it."""
    if number < 4:
        return number > 1
    return number % 2 == 1 and all(number % divisor for divisor in range(3, isqrt(number) + 1, 2))
