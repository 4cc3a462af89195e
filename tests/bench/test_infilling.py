"""How bench/studies/infilling.py chooses the lines to guess, and counts the hits."""

from __future__ import annotations

from bench.studies import infilling


class TestHoles:
    """How bench/studies/infilling.py chooses the lines to guess."""

    LINES = tuple(f"    value_number_{i} = {i}\n" for i in range(10))

    def test_what_is_a_hole(self) -> None:
        lines = list(self.LINES)
        assert [i for i in range(10) if infilling.is_hole(lines, i)] == [3, 4, 5, 6]
        lines[3:6] = ["\n", "    # a comment of some length\n", "  a = (b + c)\n"]  # the last has 9 characters
        assert [i for i in range(10) if infilling.is_hole(lines, i)] == [6]

    def test_nearest_lines(self) -> None:
        costs = [5] * 10
        assert infilling.nearest_lines(costs, 4, 35) == (1, 8)
        assert infilling.nearest_lines(costs, 4, 32) == (1, 7)
        assert infilling.nearest_lines(costs, 1, 30) == (0, 6)
        assert infilling.nearest_lines(costs, 4, 1000) == (0, 10)
        assert infilling.nearest_lines([*costs[:3], 100, *costs[4:]], 4, 25) == (4, 9)

    def test_a_hole(self) -> None:
        lines = self.LINES
        hole = infilling.make_hole("a.py", lines, [5] * 10, 4, 40)
        before, after = "".join(lines[0:4]), "".join(lines[5:8])
        assert hole == infilling.Hole("a.py", 5, before, "    ", "value_number_4 = 4", "\n" + after)
        hole = infilling.make_hole("a.py", lines, [5] * 10, 4, 40, infilling.CONTENT)
        assert hole == infilling.Hole("a.py", 5, before + "    ", "    ", "value_number_4 = 4", "\n" + after)
        assert infilling.make_hole("a.py", lines, [5] * 10, 4, 34) is None

    def test_choice(self) -> None:
        texts = {"b.py": "".join(self.LINES), "a.py": "".join(self.LINES).replace("\n", "\r\n")}
        holes = infilling.choose(texts, len, 5, 1000, seed=1)
        assert holes == infilling.choose(dict(reversed(texts.items())), len, 5, 1000, seed=1)
        assert len(set(holes)) == 5
        assert holes != infilling.choose(texts, len, 5, 1000, seed=2)
        assert len(infilling.choose(texts, len, 100, 1000, seed=1)) == 8
        assert all("\r" not in hole.prefix for hole in holes)

    def test_summary(self) -> None:
        hole = infilling.Hole("a.py", 5, "", "", "x", "")
        names = (infilling.INFILL, infilling.PREFIX, infilling.SHORTER_PREFIX)
        guesses = [dict(zip(names, row, strict=True)) for row in (("x", "y", "x"), ("x", "y", "y"), ("x", "x", "x"))]
        found = infilling.summary([hole] * 3, guesses)
        assert list(found["hits"].values()) == [3, 1, 2]
        assert found["ratio"] == 1.5
        assert infilling.summary([hole], [dict.fromkeys(names, "y")])["ratio"] is None
        del guesses[0][infilling.SHORTER_PREFIX]  # so only the prefix counts: no hit
        assert list(infilling.summary([hole] * 3, guesses)["hits"].values()) == [3, 1, 1]
        for guess in guesses:
            guess.pop(infilling.SHORTER_PREFIX, None)
        assert infilling.summary([hole] * 3, guesses)["ratio"] == 3.0
