"""Bots that play a study as participants do, through its pages. Their logs say that they are bots.

A bot answers offers by a known rule. What it knows of an object is

    sorted   counts of its own sorting, as the statistics model people (`mhng.experiment.people.ratios`): from the
             categories of the other objects, and the names that it gives them now
    known    the table of the agent that it stands in for (person.pt), which never changes

It proposes w with probability proportional to pi_w L(w). With --lapse, it answers some offers by a coin.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import torch

from mhng.experiment.errors import RunError, UsageError
from mhng.experiment.people import draws
from mhng.experiment.people.client import Answer, Client, Transport
from mhng.experiment.people.conditions import parse_condition
from mhng.experiment.people.partner import Belief, Rows
from mhng.experiment.people.person import PersonSide
from mhng.experiment.people.ratios import category_likelihood


class Bot:
    """A participant with a known rule.

    rule: a rule of acceptance, as --partner takes it. person: the agent that it stands in for; it sorts by the most
    probable sign. known: whether its table is that of the agent. lapse: share of answers by a coin. seed, number: of
    its draws.
    """

    def __init__(
        self, rule: str, person: PersonSide, *, known: bool = False, lapse: float = 0.0, seed: int = 0, number: int = 0
    ) -> None:
        if not 0 <= lapse <= 1:
            raise UsageError(f"--lapse is {lapse}; expected 0 to 1")
        self.name, self.rule = rule, parse_condition(rule, "--rule").rule
        self.log_prior: Rows = person.log_prior.tolist()
        self.known: Belief | None = Belief(self.log_prior, person.table.tolist()) if known else None
        self.best: Sequence[int] = (person.table + person.log_prior).argmax(1).tolist()
        self.lapse, self.key = lapse, (seed, "bot", number)
        self.groups: list[int] = []
        self.G = 0
        self._pictures: list[str] = []

    def play(self, transport: Transport, language: str = "en") -> str:
        """Play a study to its end; returns the code of the participant. Raises RunError for an unexpected page."""
        client = Client(transport)
        form = {"agree": "yes", "language": language, "bot": self.name}
        self._expect(client.post("/begin", form), 303)
        while True:
            page = client.get("/page")
            self._expect(page, 200)
            if page.data["kind"] == "end":
                found = re.search(r'id="participant">([0-9a-f]{16})<', page.text)
                assert found is not None
                return found[1]
            self._expect(client.post("/page", self.answer(page)), 303)

    def answer(self, page: Answer) -> dict[str, str]:
        """The form that answers a page."""
        data, form = page.data, {"index": page.data["index"], "rt": "1"}
        kind = data["kind"]
        if kind == "quiz":
            return form | {"quiz_1": "0", "quiz_2": "1"}
        if kind == "practice-offer":
            return form | {"answer": "take"}
        if kind == "practice-proposal":
            return form | {"sign": "0"}
        if kind == "sort":
            self._pictures = re.findall(r'src="/picture/([\w.]+)"', page.text)
            if len(self._pictures) != len(self.best):
                raise RunError(
                    f"the study has {len(self._pictures)} objects, but the bot knows {len(self.best)}; expected the "
                    "folder of the study that is served"
                )
            self.G = 1 + max(int(g) for g in re.findall(r'name="group_0" value="(\d+)"', page.text))
            self.groups = [self.best[n] % self.G for n in range(len(self._pictures))]
            return form | {f"group_{n}": str(group) for n, group in enumerate(self.groups)}
        if kind == "questions":
            return form | {"how": f"bot of the rule {self.name}", "meaning": "2", "more": ""}
        if kind == "offer":
            return form | {"answer": "take" if self._takes(page) else "keep"}
        if kind == "proposal":
            n = int(data["object"])
            return form | {"sign": str(self._belief(page).proposes(n, self._uniform(data["index"], "sign")))}
        return form

    def _takes(self, page: Answer) -> bool:
        n, current, offered = (int(page.data[name]) for name in ("object", "sign", "offered"))
        if self._uniform(page.data["index"], "lapse") < self.lapse:
            return self._uniform(page.data["index"], "coin") < 0.5
        return self._belief(page).accepts(self.rule, n, offered, current, self._uniform(page.data["index"], "answer"))

    def _belief(self, page: Answer) -> Belief:
        """What the bot knows of the object of a page; rows of other objects are empty."""
        if self.known is not None:
            return self.known
        n = int(page.data["object"])
        signs, K = self._signs(page), len(self.log_prior[n])
        others = [[self.groups[m] for m, held in enumerate(signs) if held == k and m != n] for k in range(K)]
        together = torch.tensor([kinds.count(self.groups[n]) for kinds in others], dtype=torch.float64)
        alone = torch.tensor([len(kinds) for kinds in others], dtype=torch.float64)
        row = category_likelihood(together, alone, self.G).log().tolist()
        return Belief(self.log_prior, [row if m == n else [] for m in range(len(signs))])

    def _signs(self, page: Answer) -> list[int]:
        """The bot's signs of all objects, as the page shows them."""
        signs = [-1] * len(self._pictures)
        rows = re.findall(r'<div class="name"><dt>[^<]*</dt><dd>(.*?)</dd></div>', page.text, re.S)
        for sign, shown in enumerate(rows):
            for name in re.findall(r'src="/picture/([\w.]+)"', shown):
                signs[self._pictures.index(name)] = sign
        return signs

    def _uniform(self, *name: Any) -> float:
        return draws.uniform(*self.key, *name)

    def _expect(self, answer: Answer, status: int) -> None:
        if answer.status != status:
            raise RunError(f"the study answered a bot with status {answer.status}; expected {status}")
