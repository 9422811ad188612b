"""Load a run folder in a notebook or script.

    from mhng import load_run

    run = load_run("runs/com-mnist5k-seed0")
    run.signs["A"]                     # agent A's final sign for each object
    run.name(images).joint             # the joint sign of new images

`load_run` reads the manifest and the settings. Everything else is read on first access; see `SavedRun`.

Shapes: N objects, K signs, L latent dimensions, *shape of an observation: (C, H, W) for images, (D,) for feature
vectors. For an agent with several modalities it is (D,): all modalities flattened and concatenated, NaN where one is
missing. `LoadedRun.modalities` separates them.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mhng.experiment.errors import UsageError
from mhng.experiment.runs import folder as run_folder
from mhng.experiment.runs.metrics_table import History, history_of
from mhng.experiment.settings.config import data_name
from mhng.experiment.training.saved_run import Ints, SavedRun
from mhng.experiment.util.paths import typed_path
from mhng.experiment.util.text import decimal, short_repr
from mhng.models.languages import MOST_TABLE
from mhng.models.torch_defaults import torch_defaults

if TYPE_CHECKING:
    from mhng.experiment.evaluation.new_objects import NewObjects
    from mhng.experiment.plots.style import Figure
    from mhng.experiment.training.console import Printer

Callback = Callable[[dict[str, Any]], object]
Pictures = dict[str, Callable[[Path], object]]


class Recalled(NamedTuple):
    """Expected observations of an agent for one sign; pixels in [0, 1] for images with a Bernoulli likelihood."""

    mean: NDArray[np.float32]  # (*shape), at the component mean
    draws: NDArray[np.float32]  # (draws, *shape), at latents drawn from the component


class Named(NamedTuple):
    """Most probable signs of B new objects, and their posterior probabilities."""

    signs: dict[str, Ints]  # by agent, from its latents alone: (B,)
    probability: dict[str, NDArray[np.float64]]  # by agent: (B,)
    joint: Ints  # (B,), from the latents of all agents; not meaningful in mode no-com
    joint_probability: NDArray[np.float64]  # (B,)


def load_run(
    path: str | Path, *, data_root: str | Path | None = None, data: str | None = None, trust_plugins: bool = False
) -> LoadedRun:
    """Load the run in the folder `path`, finished or not.

    data_root, data: new places of the data set, as --data-root and --data take them, if the data have moved.
    trust_plugins: allow the run's MODULE:NAME settings to import code that is not part of this program.
    Raises UsageError if the folder is not a run.
    """
    return LoadedRun(path, data_root=data_root, data=data, trust_plugins=trust_plugins)


def train(
    *,
    callbacks: Sequence[Callback] = (),
    verbose: bool = False,
    config: str | Path | None = None,
    preset: str | None = None,
    trust_plugins: bool = False,
    **settings: Any,
) -> LoadedRun:
    """Train one run, as `python cli.py train` does, and load it.

        run = train(mode="com", dataset="digits", epochs=20, rounds=2, callbacks=[print])

    Args:
        callbacks: functions that receive each row of metrics.jsonl as a dictionary. The "kind" of a row is epoch
            (losses in parts), start (score) or sweep (ARI, kappa, acceptance, log joint). The row of an epoch
            comes after the epoch. The rows of a game come together, after its round is saved. An exception of a
            callback ends the run, after saving it, and passes through; `load_run(FOLDER).resume()` continues.
        verbose: print what the command line prints. Otherwise only notes and warnings are printed, on stderr.
        config: a TOML file of settings, as --config takes it. `settings` override it.
        preset: "quick" or "paper", as --preset takes it. File and settings override it.
        trust_plugins: allow MODULE:NAME settings of that file to import code that is not part of this program.
        settings: the settings of the command line, with underscores: `latent_dim=8` is `--latent-dim 8`. `agent`
            maps names to such settings: `agent={"B": {"network": "conv"}}`. None is the default.

    Raises:
        UsageError: a setting is unknown or bad; nothing has been written.
        RunError: the run failed.
        KeyboardInterrupt: the run was stopped by a signal, and saved.
    """
    from mhng.experiment.settings import presets
    from mhng.experiment.settings.config import from_keywords, read_file, with_preset
    from mhng.experiment.training.train import free_folder
    from mhng.experiment.training.train import train as run_training

    if "resume" in settings:
        raise UsageError("train() has no setting 'resume'; load_run(FOLDER).resume() continues a run")
    file = {} if config is None else read_file(typed_path(config, "config"), trust_plugins=trust_plugins)
    checked = with_preset(file | from_keywords(settings), preset)
    callbacks = _check_callbacks(callbacks)
    about = [] if preset is None else [presets.find(preset).note]
    checked = replace(checked, run_dir=checked.run_dir or free_folder(checked))
    run_training(checked, printer=_printer(verbose), callbacks=callbacks, about=about)
    path = checked.run_dir
    assert path is not None
    return load_run(path, trust_plugins=True)  # the caller has named them


def _whole(name: str, value: Any) -> int:
    try:
        return operator.index(value)
    except TypeError:
        raise UsageError(f"{name} is {short_repr(value)}; expected a whole number") from None


def _check_callbacks(callbacks: Sequence[Callback] | None) -> Sequence[Callback]:
    if callbacks is None:
        return ()
    if not isinstance(callbacks, list | tuple) or not all(map(callable, callbacks)):
        raise UsageError(f"callbacks is {short_repr(callbacks)}; expected a list of functions, such as [print]")
    return callbacks


def _printer(verbose: bool) -> Printer:
    from mhng.experiment.training.console import Printer, Quiet

    return Printer() if verbose else Quiet()


class Diagnosis(dict[str, Any]):
    """What `cli.py diagnose --json` prints, as a dictionary. As text it is what `cli.py diagnose` prints."""

    def __repr__(self) -> str:
        from mhng.experiment.diagnostics.diagnose import report_lines

        return "\n".join(report_lines(self))


class LoadedRun(SavedRun):
    """A run folder, read only, with methods for notebooks. Made by `load_run`."""

    def __repr__(self) -> str:
        config = self.config
        parts = [f"run {self.path}: {self.status}", f"mode {config.mode}", data_name(config), f"{config.signs} signs"]
        try:
            scores = self.scores
            aris = [f"{name} {decimal(row['ari'])}" for name, row in scores["agents"].items()]
            parts += [
                f"{scores['objects']} objects", f"round {scores['rounds']} of {config.rounds}",
                f"ARI {' '.join(aris)}", f"kappa {decimal(scores['kappa'])}",
            ]  # fmt: skip
        except (UsageError, KeyError, TypeError, AttributeError):
            parts.append("no results yet" if self.status != "done" else f"{run_folder.SUMMARY} is incomplete")
        return f"<{', '.join(parts)}>"

    @property
    def scores(self) -> dict[str, Any]:
        """summary.json: ARI, NMI and accuracy by agent, kappa, acceptance, log evidence (nats), and more."""
        return self.summary

    @cached_property
    def history(self) -> History:
        """metrics.jsonl as two tables of columns, `epochs` and `sweeps`; also for an unfinished run."""
        return history_of(self.metrics)

    @torch_defaults()
    def modalities(self, agent: str, observations: ArrayLike) -> dict[str, NDArray[np.float32]]:
        """Split an agent's observations (B, *shape) by modality: title -> (B, *shape of the modality)."""
        import torch

        m = self._number(agent)
        array = np.asarray(observations, dtype=np.float32)
        shape = tuple(self.objects.views[m].shape[1:])
        if array.shape[1:] != shape:
            raise UsageError(f"observations of agent {agent} have shape {array.shape}; expected (B, *{shape})")
        parts = self.models[agent].split(torch.from_numpy(array))
        return {sense.title: part.numpy() for sense, part in zip(self.objects.modalities[m], parts, strict=True)}

    @torch_defaults()
    def latents(self, agent: str) -> NDArray[np.float64]:
        """The agent's latents of all objects: means of q(z | x), (N, L)."""
        view = self.objects.views[self._number(agent)]
        return self.models[agent].perceive(view, None).z.numpy()

    @cached_property
    def language(self) -> dict[str, Any]:
        """The report that `language --json` prints. Raises UsageError for a run of single signs."""
        from mhng.experiment.evaluation.language import language_report

        return language_report(self)

    @torch_defaults()
    def components(self, agent: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """The agent's mixture components in latent space, from chain 0: means (K, L) and covariances (K, L, L)."""
        self._number(agent)
        parameters = self.parameters[agent]
        mixture = self.models[agent].mixture
        return mixture.means(parameters).numpy().copy(), mixture.covariance(parameters).numpy()

    @torch_defaults()
    def recall(self, sign: int | Sequence[int], *, draws: int = 8, temperature: float = 1.0) -> dict[str, Recalled]:
        """Decode `sign`, 0..K-1, by each agent: at the component mean and at `draws` latents drawn around it.

        A sentence of several words is given by its words, as in `recall([3, 7])`. No object needs to have it.
        temperature: scale of the deviation from the mean; 1 draws from the component, 0 gives the mean.
        The draws are those of `cli.py recall`, the same in every call.
        """
        from mhng.experiment.evaluation.imagination import check_temperature, recall_signs

        k, K = self._code(sign), self.config.signs
        if not 0 <= k < K:
            raise UsageError(f"sign is {k}; expected 0 to {K - 1}")
        if _whole("draws", draws) < 0:
            raise UsageError(f"draws is {draws}; expected 0 or more")
        check_temperature("temperature", temperature)
        result = {}
        for name in self.agents:
            images = np.stack(
                [
                    chunk[k - part.start].numpy()
                    for chunks in recall_signs(self, name, draws, temperature)
                    for part, chunk in chunks
                    if part.start <= k < part.stop
                ]
            )
            result[name] = Recalled(images[0], images[1:])
        return result

    @torch_defaults()
    def imagine(
        self, speaker: str, listener: str, *, objects: Sequence[int] | None = None, temperature: float = 0.0
    ) -> NDArray[np.float32]:
        """Decode, by `listener`, the sign that `speaker` gives to each object: (B, *shape).

        The listener does not see the objects.
        objects: positions 0..N-1 (default: all). temperature: 0 gives the component mean, 1 a draw from the component.
        """
        from mhng.experiment.evaluation.imagination import check_temperature, recall_across

        m_speaker, m_listener = self._number(speaker), self._number(listener)
        check_temperature("temperature", temperature)
        positions = np.atleast_1d(np.arange(self.objects.count) if objects is None else objects)
        if positions.ndim > 1:
            raise UsageError(f"objects must be positions (B,); their shape is {positions.shape}")
        try:
            positions = np.arange(self.objects.count)[positions if positions.size else positions.astype(np.intp)]
        except IndexError as error:
            raise UsageError(f"objects must be positions from 0 to {self.objects.count - 1}: {error}") from error
        images = np.empty((len(positions), *self.objects.views[m_listener].shape[1:]), dtype=np.float32)
        for part, chunk in recall_across(self, speaker, listener, self._inferred_signs[m_speaker], temperature):
            here = (positions >= part.start) & (positions < part.stop)
            images[here] = chunk[positions[here] - part.start].numpy()
        return images

    @torch_defaults()
    def name(self, images: ArrayLike) -> Named:
        """Infer signs of new images, seen by each agent through its own view, as `cli.py name` does.

        images: upright and bright on black; (B, H, W), (B, C, H, W) or (B, H, W, C) with C = 1 or 3; uint8 or floats
        in [0, 1]. Other sizes and colours are converted to the run's, with a note on stderr.
        Raises UsageError naming the index of an unsuitable image.
        """
        from mhng.experiment.evaluation.new_objects import from_array, require_single_image

        require_single_image(self, "cannot name images")
        try:
            array = np.asarray(images)
        except ValueError as error:
            raise UsageError("run.name: images must be one array, all of one size") from error
        return self._named(from_array(self, array))

    @torch_defaults()
    def name_new(self, data: str | Path) -> Named:
        """Infer signs of new objects in files with the layout of the run's own --data, as `cli.py name --new` does.

        data: a path, or several separated by commas, as --data takes it. Features are scaled by the statistics of the
        run's objects. Raises UsageError if the layout differs.
        """
        from mhng.experiment.evaluation.new_objects import from_data

        return self._named(from_data(self, str(data), None))

    def resume(
        self, *, rounds: int | None = None, callbacks: Sequence[Callback] = (), verbose: bool = False
    ) -> LoadedRun:
        """Continue this run, as `cli.py train --resume` does, and load it again.

        rounds: the new number of rounds (default: as before); fewer ends a stopped run early, with results.
        callbacks, verbose: as in `train`. Raises UsageError if there is nothing to continue.
        """
        from mhng.experiment.settings.parsing import from_value
        from mhng.experiment.training.train import resume

        resume(
            self.path,
            rounds=None if rounds is None else from_value("rounds", rounds, "rounds"),
            data_root=self._moved.get("data_root"),
            data=self._moved.get("data"),
            trust_plugins=self.trust_plugins,
            printer=_printer(verbose),
            callbacks=_check_callbacks(callbacks),
        )
        return load_run(self.path, **self._moved, trust_plugins=self.trust_plugins)

    def play(
        self, *, out: str | Path | None = None, overwrite: bool = False, verbose: bool = False, **settings: Any
    ) -> LoadedRun:
        """Play the game with the agents of this run, without learning, as `cli.py play` does; load the new run.

            played = run.play(chains=4, sweeps=600)

        out: the new run folder (default: a new folder play-001, play-002, ... in this one; beside it, if this run was
        played). settings: settings of the game, with underscores. verbose: as in `train`. Raises UsageError before
        anything is written, RunError if the game fails.
        """
        from mhng.experiment.settings.config import from_keywords
        from mhng.experiment.training.play import play

        values = from_keywords(settings)
        folder = None if out is None else typed_path(out, "out")
        path = play(self, values, out=folder, overwrite=overwrite, printer=_printer(verbose))
        return load_run(path, trust_plugins=self.trust_plugins)

    def diagnose(self, *, exact: bool = False) -> Diagnosis:
        """Verdicts, R-hat, ESS and the next step, as `cli.py diagnose` gives them; `print` shows its text.

        exact: also compare the draws with the enumerated posterior, for small runs.
        """
        from mhng.experiment.diagnostics.diagnose import build_report

        return Diagnosis(build_report(self, exact=exact))

    # -- figures -------------------------------------------------------------------------------------
    # Each returns a matplotlib figure and writes no file. UsageError: the run has nothing to draw there.

    def plot_training(self) -> Figure:
        """Loss, reconstruction and KL (nats per object) by epoch. Requires agents with networks."""
        return self._figure(self._training_pictures, "training.png", "agents with networks")

    def plot_game(self) -> Figure:
        """ARI, kappa, acceptance and log joint by sweep."""
        return self._figure(self._training_pictures, "game.png")

    def plot_confusion(self) -> Figure:
        """Signs against classes, by agent. Requires labels."""
        return self._figure(
            self._training_pictures, "confusion.png", f"labels, results, and at most {MOST_TABLE:,} signs"
        )

    def plot_community(self) -> Figure:
        """Kappa of each pair of agents. Requires three agents or more."""
        return self._figure(self._training_pictures, "community.png", "three agents or more")

    def plot_distance(self) -> Figure:
        """Kappa by distance of two agents in the encounter graph. Requires a graph with distances."""
        return self._figure(self._training_pictures, "distance.png", "--meet with a graph of several distances")

    def plot_monitors(self) -> Figure:
        """Traces and ranks of log joint, log evidence, kappa and the largest share, by chain."""
        return self._figure(self._diagnostic_pictures, "monitors.png")

    def plot_components(self) -> Figure:
        """Share of the objects by sign, over the draws."""
        return self._figure(self._diagnostic_pictures, "components.png", f"at most {MOST_TABLE:,} signs")

    def plot_acceptance(self) -> Figure:
        """Acceptance rate by sweep and chain. Requires a mode with proposals."""
        return self._figure(self._diagnostic_pictures, "acceptance.png", "--mode com or all")

    def plot_co_assignment(self) -> Figure:
        """Share of draws that give two objects the same sign."""
        return self._figure(self._diagnostic_pictures, "co_assignment.png", "--keep signs or all")

    def plot_chains(self) -> Figure:
        """ARI between the draws of two chains."""
        return self._figure(self._diagnostic_pictures, "chains.png", "--keep signs or all")

    @torch_defaults()
    def plot_recall(self, agent: str) -> Figure:
        """Images that the agent decodes from each sign, at the mean and at eight draws. Requires images."""
        self._number(agent)
        return self._figure(self._recall_pictures, f"recall_{agent}.png")

    @torch_defaults()
    def plot_cross_recall(self) -> Figure:
        """Images that one agent sees, and those that another decodes from its sign. Requires images."""
        return self._figure(self._recall_pictures, "cross_recall.png")

    @torch_defaults()
    def plot_vocabulary(self) -> Figure:
        """Words of each slot against the values of an attribute. Requires sentences about objects with attributes."""
        return self._figure(self._language_pictures, "vocabulary.png", "objects with several attributes")

    @torch_defaults()
    def plot_evidence(self) -> Figure:
        """Log evidence of the sentences under each meaning. Requires sentences."""
        return self._figure(self._language_pictures, "evidence.png")

    @torch_defaults()
    def plot_imagined(self, agent: str) -> Figure:
        """Images that the agent imagines as the first and the second word change. Requires sentences and images."""
        self._number(agent)
        return self._figure(self._language_pictures, f"imagined_{agent}.png", "images")

    def plot_latents(self, agent: str, *, by: str = "sign", kind: str = "pca") -> Figure:
        """The agent's latents in two dimensions. by: sign or class, for the colours. kind: pca or tsne."""
        from mhng.experiment.evaluation import matching
        from mhng.experiment.evaluation.projection import MAPS, project
        from mhng.experiment.plots.latent_map import plot_map
        from mhng.experiment.plots.style import figure_of

        for name, value, choices in (("by", by, ("sign", "class")), ("kind", kind, MAPS)):
            if value not in choices:
                raise UsageError(f"{name} is {value!r}; expected {' or '.join(choices)}")
        self._number(agent)
        labels, names, K = self.objects.labels, list(self.objects.class_names), self.config.signs
        groups, colours = self.signs[agent], matching.sign_colours(self.signs[agent], labels, K, len(names))
        if by == "class":
            if labels is None:
                raise UsageError(f"by is 'class', but the objects of {self.path} have no labels")
            groups, colours = labels, list(range(len(names)))
        else:
            names = [str(k) for k in range(K)]
        flat = project(self.latents(agent), kind, self.config.seed)
        return figure_of(lambda path: plot_map(path, flat.points, groups[flat.shown], names, colours, flat.axes))

    # -- internals -----------------------------------------------------------------------------------

    def _figure(self, pictures: Pictures, name: str, required: str = "") -> Figure:
        from mhng.experiment.plots.style import figure_of

        if name not in pictures:
            raise UsageError(f"{self.path} has no picture {name.removesuffix('.png')}, which requires {required}")
        return figure_of(pictures[name])

    @property
    def _training_pictures(self) -> Pictures:
        from mhng.experiment.training.pictures import run_pictures

        finished = self.folder.file(run_folder.SUMMARY).exists()
        signs = self.signs if finished else {}
        labels = self.labels if finished else None
        matrix = self.scores.get("kappa_matrix") if finished else None
        return run_pictures(self.metrics, signs, labels, lambda: self.objects.class_names, self.config.signs, matrix)

    @cached_property
    def _diagnostic_pictures(self) -> Pictures:
        from mhng.experiment.diagnostics.diagnose import pictures_of

        return pictures_of(self, self.diagnose()["basins"])

    @cached_property
    def _recall_pictures(self) -> Pictures:
        from mhng.experiment.evaluation import recall
        from mhng.experiment.evaluation.new_objects import require_images

        require_images(self, "has no images to recall")
        return recall.pictures_of(self, recall.evaluate(self, temperature=1.0, count=8, pairs=4)[1])

    @cached_property
    def _language_pictures(self) -> Pictures:
        from mhng.experiment.evaluation.language import speakers_of
        from mhng.experiment.evaluation.vocabulary import pictures_of

        return pictures_of(self, self.language, speakers_of(self))

    def _named(self, objects: NewObjects) -> Named:
        from mhng.experiment.evaluation.naming import name_objects

        inferred = name_objects(self, objects)
        signs, probability = (
            dict(zip(self.agents, rows, strict=True)) for rows in (inferred.signs, inferred.probability)
        )
        return Named(signs, probability, inferred.joint, inferred.joint_probability)

    @cached_property
    def _inferred_signs(self) -> Any:
        """The most probable sign of each object for each agent: (M, N)."""
        import torch

        from mhng.experiment.evaluation.naming import infer_signs

        return torch.from_numpy(infer_signs(self, self.objects.views).signs)

    def _code(self, sign: int | Sequence[int]) -> int:
        """The number of a sign, or of the sentence with these words. Raises UsageError."""
        if not isinstance(sign, list | tuple | np.ndarray) or np.ndim(sign) == 0:
            return _whole("sign", sign)
        from mhng.experiment.evaluation.recall_sentences import parse_sentence

        sentences = self.config.sentences
        if sentences is None:
            raise UsageError(f"sign is {sign!r}; expected 0 to {self.config.signs - 1}: the run has single signs")
        code = 0
        for word in parse_sentence(",".join(map(str, sign)), sentences):
            code = code * sentences.vocabulary + word
        return code

    def _number(self, agent: str) -> int:
        """The agent's number. Raises UsageError if the run has no such agent."""
        if agent not in self.agents:
            raise UsageError(f"there is no agent {agent!r}; the run's agents are {', '.join(self.agents)}")
        return self.agents.index(agent)
