import ast

import pytest

from tests.architecture.survey import Source, complaints, functions, sample, sources

MOST_LINES_OF_A_FILE = 400
MOST_LINES_OF_A_FUNCTION = 50
MOST_PARAMETERS_OF_A_CONSTRUCTOR = 7
MOST_LINES_OF_THE_HEART = 6_760
"""`domain`, `ports`, `engine`. Wanted are 4,500: whoever comes by may take something away."""
MOST_LINES_OF_THE_HOUSE = 33_720
"""All but `testing`. Wanted are 15,000."""
MOST_LINES_OF_WHAT_IS_SHIPPED_FOR_TESTS = 2_200


def long_files(source: Source) -> list[str]:
    if source.lines <= MOST_LINES_OF_A_FILE:
        return []
    return [source.at(1, f"{source.lines} lines, allowed are {MOST_LINES_OF_A_FILE}")]


def docstring_lines(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    first = function.body[0]
    if ast.get_docstring(function) is None or first.end_lineno is None:
        return 0
    return first.end_lineno - first.lineno + 1


def long_functions(source: Source) -> list[str]:
    found = []
    for function in functions(source):
        lines = (function.end_lineno or 0) - function.lineno + 1 - docstring_lines(function)
        if lines > MOST_LINES_OF_A_FUNCTION:
            found.append(source.at(function.lineno, f"{function.name} has {lines} lines"))
    return found


def wide_constructors(source: Source) -> list[str]:
    """Only written ones: a record gets its constructor from its fields."""
    found = []
    for function in functions(source):
        given = function.args
        count = len([*given.posonlyargs, *given.args, *given.kwonlyargs]) - 1
        if function.name == "__init__" and count > MOST_PARAMETERS_OF_A_CONSTRUCTOR:
            found.append(source.at(function.lineno, f"a constructor with {count} parameters"))
    return found


@pytest.mark.parametrize("rule", [long_files, long_functions, wide_constructors])
def test_files_functions_and_constructors_stay_small(rule):
    assert complaints(rule, sources("src", "tests", "benchmarks")) == []


def test_the_heart_and_the_house_stay_small():
    house = sources("src")
    heart = [source for source in house if source.within("rota.domain", "rota.ports", "rota.engine")]
    assert 0 < sum(source.lines for source in heart) <= MOST_LINES_OF_THE_HEART
    aids = [source for source in house if source.within("rota.testing")]
    assert sum(source.lines for source in house if source not in aids) <= MOST_LINES_OF_THE_HOUSE
    assert sum(source.lines for source in aids) <= MOST_LINES_OF_WHAT_IS_SHIPPED_FOR_TESTS


def test_a_long_file_is_noticed():
    assert long_files(sample("pass\n" * 400)) == []
    assert long_files(sample("pass\n" * 401))


def test_a_long_function_is_noticed_and_its_docstring_is_free():
    docstring = '    """' + "A line.\n" * 30 + '    """\n'
    assert long_functions(sample("def short():\n" + docstring + "    pass\n" * 49)) == []
    assert long_functions(sample("async def long():\n" + docstring + "    pass\n" * 50))


def test_a_wide_constructor_is_noticed():
    narrow = "class Narrow:\n    def __init__(self, a, b, c, d, *, e, f, g): ..."
    wide = "class Wide:\n    def __init__(self, a, b, c, d, *, e, f, g, h): ..."
    assert wide_constructors(sample(narrow)) == []
    assert wide_constructors(sample(wide))
