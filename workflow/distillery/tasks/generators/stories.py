"""The stories behind arithmetic questions, as data: numbers, steps and wordings.

`numbers` gives each number its range (see `arithmetic.generate`); a step is an expression over numbers and earlier
results (`s1`, `s2`) with the sentence that shows it; the last wording is kept for test questions.
"""

from typing import NamedTuple


class Story(NamedTuple):
    """A template of word problems."""

    name: str
    numbers: dict[str, str]
    steps: tuple[tuple[str, str], ...]
    wordings: tuple[str, ...]


_THINGS = (
    "apples pears plums lemons oranges cherries eggs cookies muffins candies marbles stamps coins stickers "
    "pencils pens books cards shells stones buttons balloons beads tickets photos flowers roses tulips seeds nuts "
    "toys blocks"
)
THINGS = tuple(_THINGS.split())

STORIES = (
    Story(
        "gain",
        {"a": "add", "b": "add"},
        (("a + b", "{name} has {} {thing}."),),
        (
            "{name} has {a} {thing}. {other} gives {name} {b} more {thing}. How many {thing} does {name} have now?",
            "{name} finds {a} {thing} on Monday and {b} {thing} on Tuesday. How many {thing} does {name} find in all?",
            "There are {a} {thing} in a box. {name} puts {b} more {thing} in it. How many {thing} are in the box?",
            "{name} owns {a} {thing} and buys another {b}. How many {thing} does {name} own after that?",
        ),
    ),
    Story(
        "lose",
        {"a": "add", "b": "add"},
        (("a - b", "{} {thing} are left."),),
        (
            "{name} has {a} {thing}. {name} gives {b} {thing} to {other}. How many {thing} does {name} have left?",
            "There are {a} {thing} on the table. {name} takes {b} of them. How many {thing} are left on the table?",
            "{name} had {a} {thing} and lost {b} of them. How many {thing} are left?",
            "From a bag with {a} {thing}, {name} sells {b}. How many {thing} stay in the bag?",
        ),
    ),
    Story(
        "groups",
        {"a": "times", "b": "times"},
        (("a * b", "There are {} {thing}."),),
        (
            "{name} has {a} boxes with {b} {thing} in each box. How many {thing} does {name} have?",
            "There are {a} shelves. Each shelf holds {b} {thing}. How many {thing} are there in all?",
            "{name} buys {b} {thing} every day for {a} days. How many {thing} does {name} buy?",
            "{name} fills {a} bags and puts {b} {thing} in every bag. How many {thing} are in the bags together?",
        ),
    ),
    Story(
        "share",
        {"a": "total", "b": "times"},
        (("a / b", "Each gets {} {thing}."),),
        (
            "{name} shares {a} {thing} equally among {b} friends. How many {thing} does each friend get?",
            "{name} packs {a} {thing} into {b} boxes, the same number in each. How many {thing} are in each box?",
            "{a} {thing} are put on {b} plates in equal parts. How many {thing} are on each plate?",
            "A group of {b} children splits {a} {thing} evenly. How many {thing} does every child receive?",
        ),
    ),
    Story(
        "difference",
        {"a": "add", "b": "add"},
        (("a - b", "{name} has {} more {thing}."),),
        (
            "{name} has {a} {thing} and {other} has {b} {thing}. How many more {thing} does {name} have than {other}?",
            "{name} has {a} {thing}. {other} has only {b}. How many more {thing} does {name} have?",
            "{other} found {b} {thing}. {name} found {a} {thing}. How many more {thing} did {name} find than {other}?",
            "{name} counts {a} {thing} and {other} counts {b}. By how many is the count of {name} larger?",
        ),
    ),
    Story(
        "gain_lose",
        {"a": "add", "b": "add", "c": "add"},
        (("a + b", "{name} has {} {thing}."), ("s1 - c", "Then {} {thing} are left.")),
        (
            "{name} has {a} {thing}, buys {b} more and gives away {c}. How many {thing} does {name} have left?",
            "{name} has {a} {thing}. {other} gives {name} {b} {thing}. Then {name} loses {c} {thing}. "
            "How many {thing} are left?",
            "{name} picks {a} {thing} in the morning and {b} in the evening, and sells {c}. How many {thing} are left?",
            "A jar holds {a} {thing}. {name} adds {b}, and later {other} takes {c} out. "
            "How many {thing} are in the jar?",
        ),
    ),
    Story(
        "buy_packs",
        {"a": "add", "b": "times", "c": "times"},
        (("b * c", "The bags hold {} {thing}."), ("a + s1", "{name} has {} {thing}.")),
        (
            "{name} has {a} {thing}. {name} buys {b} bags with {c} {thing} each. "
            "How many {thing} does {name} have now?",
            "{name} has {a} {thing} and gets {b} bags with {c} {thing} in each bag. How many {thing} does {name} have?",
            "There are {a} {thing} at home. {name} brings {b} bags of {c} {thing}. How many {thing} are there in all?",
            "{name} already owns {a} {thing} when {other} sends {b} bags, each with {c} {thing}. "
            "How many {thing} does {name} own then?",
        ),
    ),
    Story(
        "use_packs",
        {"a": "times", "b": "times", "c": "add"},
        (("a * b", "There are {} {thing}."), ("s1 - c", "Then {} {thing} are left.")),
        (
            "{name} buys {a} boxes with {b} {thing} each and uses {c} {thing}. How many {thing} are left?",
            "{name} has {a} bags of {b} {thing}. {name} gives {c} {thing} to {other}. How many {thing} are left?",
            "There are {a} rows with {b} {thing} in each row. {name} takes {c} {thing} away. "
            "How many {thing} are left?",
            "{name} opens {a} packs of {b} {thing} and drops {c} of them. How many {thing} does {name} still have?",
        ),
    ),
    Story(
        "times_as_many",
        {"a": "add", "b": "few"},
        (("b * a", "{other} has {} {thing}."), ("a + s1", "Together they have {} {thing}.")),
        (
            "{name} has {a} {thing}. {other} has {b} times as many {thing}. How many {thing} do they have together?",
            "{name} finds {a} {thing} and {other} finds {b} times as many. How many {thing} do they find together?",
            "{other} has {b} times as many {thing} as {name}. {name} has {a}. How many {thing} do both have together?",
            "{name} collects {a} {thing}, and {other} collects {b} times that number. How many {thing} is that in all?",
        ),
    ),
    Story(
        "more_than",
        {"a": "add", "b": "add"},
        (("a + b", "{other} has {} {thing}."), ("a + s1", "Together they have {} {thing}.")),
        (
            "{name} has {a} {thing}. {other} has {b} more {thing} than {name}. How many {thing} do they have together?",
            "{name} sold {a} {thing}. {other} sold {b} more than {name}. How many {thing} did they sell together?",
            "{other} has {b} more {thing} than {name}, who has {a}. How many {thing} do they have together?",
            "{name} brings {a} {thing}, and {other} brings {b} more than that. "
            "How many {thing} do the two bring in all?",
        ),
    ),
    Story(
        "change",
        {"a": "times", "b": "times", "c": "total"},
        (("a * b", "The {thing} cost {} dollars."), ("c - s1", "{name} has {} dollars left.")),
        (
            "{name} has {c} dollars and buys {a} {thing} for {b} dollars each. How many dollars are left?",
            "{name} buys {a} {thing}. Each costs {b} dollars. {name} had {c} dollars. How many dollars are left?",
            "One of the {thing} costs {b} dollars. {name} buys {a} and pays with {c} dollars. "
            "How many dollars does {name} get back?",
            "With {c} dollars in hand, {name} pays {b} dollars for each of {a} {thing}. How many dollars remain?",
        ),
    ),
    Story(
        "share_rest",
        {"a": "total", "b": "add", "c": "times"},
        (("a - b", "There are {} {thing} to share."), ("s1 / c", "Each gets {} {thing}.")),
        (
            "{name} has {a} {thing}, keeps {b} and shares the rest equally among {c} friends. "
            "How many {thing} does each friend get?",
            "{name} has {a} {thing}. {name} eats {b} and puts the rest into {c} bags, the same number in each. "
            "How many {thing} are in each bag?",
            "From {a} {thing}, {b} are broken. {name} gives the good ones to {c} children in equal parts. "
            "How many {thing} does each child get?",
            "{name} sets {b} of {a} {thing} aside and divides the others evenly over {c} plates. "
            "How many {thing} lie on each plate?",
        ),
    ),
    Story(
        "day_by_day",
        {"a": "times", "b": "times", "c": "few"},
        (("a + b", "Each day it is {} {thing}."), ("s1 * c", "In all it is {} {thing}.")),
        (
            "{name} makes {a} {thing} every morning and {b} every evening. "
            "How many {thing} does {name} make in {c} days?",
            "Each day {name} sells {a} {thing} and {other} sells {b} {thing}. "
            "How many {thing} do they sell in {c} days?",
            "{name} buys {a} big and {b} small {thing} a day for {c} days. How many {thing} does {name} buy in all?",
            "For {c} days, {name} draws {a} {thing} before lunch and {b} after lunch. How many {thing} are drawn?",
        ),
    ),
    Story(
        "two_kinds",
        {"a": "times", "b": "times", "c": "times", "d": "times"},
        (
            ("a * b", "The boxes hold {} {thing}."),
            ("c * d", "The bags hold {} {thing}."),
            ("s1 + s2", "Together there are {} {thing}."),
        ),
        (
            "{name} has {a} boxes with {b} {thing} each and {c} bags with {d} {thing} each. "
            "How many {thing} does {name} have?",
            "There are {a} boxes of {b} {thing} and {c} bags of {d} {thing}. How many {thing} are there in all?",
            "{name} buys {a} boxes of {b} {thing}. {other} buys {c} bags of {d} {thing}. "
            "How many {thing} do they buy together?",
            "A shop gets {a} boxes holding {b} {thing} each, and {c} bags holding {d} each. How many {thing} is that?",
        ),
    ),
    Story(
        "use_and_refill",
        {"a": "times", "b": "times", "c": "add", "d": "add"},
        (
            ("a * b", "There are {} {thing}."),
            ("s1 - c", "Then {} {thing} are left."),
            ("s2 + d", "In the end there are {} {thing}."),
        ),
        (
            "{name} has {a} boxes with {b} {thing} each, gives away {c} {thing} and then gets {d} more. "
            "How many {thing} does {name} have now?",
            "{name} buys {a} bags of {b} {thing}. {name} uses {c} {thing} and then finds {d} more. "
            "How many {thing} does {name} have?",
            "There are {a} rows of {b} {thing}. {other} takes {c} away and {name} brings {d}. "
            "How many {thing} are there?",
            "{name} packs {a} cases with {b} {thing} each. {c} {thing} are sold and {d} new ones arrive. "
            "How many {thing} are there at the end?",
        ),
    ),
    Story(
        "gain_lose_share",
        {"a": "add", "b": "add", "c": "add", "d": "times"},
        (
            ("a + b", "{name} has {} {thing}."),
            ("s1 - c", "Then {} {thing} are left."),
            ("s2 / d", "Each gets {} {thing}."),
        ),
        (
            "{name} has {a} {thing}, buys {b} more, eats {c} and shares the rest equally among {d} friends. "
            "How many {thing} does each friend get?",
            "{name} has {a} {thing} and finds {b} more. {name} gives {c} to {other} and puts the rest into {d} bags, "
            "the same number in each. How many {thing} are in each bag?",
            "{name} has {a} old and {b} new {thing}. {name} loses {c} and shares the rest equally among {d} children. "
            "How many {thing} does each child get?",
            "{name} gathers {a} {thing} and {other} adds {b}. After {c} are sold, the others fill {d} boxes evenly. "
            "How many {thing} are in each box?",
        ),
    ),
)
