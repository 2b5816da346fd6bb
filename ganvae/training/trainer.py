"""From a configuration and images to a trained model: stages, steps, checkpoints."""

from __future__ import annotations

import copy
import math
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass, field, replace
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch._functorch.config as functorch
from torch import Tensor, nn

from ganvae import config as configuration
from ganvae import files
from ganvae.config import Config
from ganvae.data import Batches, Data, difference
from ganvae.data.batches import Feed
from ganvae.data.stream import StreamBatches
from ganvae.errors import CheckpointError, ConfigError, DivergedError
from ganvae.foreign import gate
from ganvae.losses.augmentation import Augmented
from ganvae.metrics import judge as judges
from ganvae.metrics import quick
from ganvae.metrics.judge import Judge
from ganvae.metrics.sampling import spread
from ganvae.models import Model, ModelInfo
from ganvae.models.strict import parse
from ganvae.networks import zoo
from ganvae.objectives.base import Objective, refuse_classes
from ganvae.progress import Display
from ganvae.training import checkpoint, precision, preflight, previews, quick_prior
from ganvae.training.ema import Average, decay
from ganvae.training.engine import Engine, Outcome
from ganvae.training.guard import Alarms, Guard
from ganvae.training.lock import RunLock
from ganvae.training.log import RunLog, read
from ganvae.training.processes import Processes
from ganvae.training.schedule import Budget, Every, rate
from ganvae.training.signals import Signals, Stopped
from ganvae.types import Batch, Clock, Noise, Shape, Step, mix

META = {
    "run": str,
    "config": dict,
    "fingerprint": str,
    "changes": list,
    "world": int,
    "guard": dict,
}
"""What a checkpoint says beside the position, and of which type."""
IMAGES = "images.npy"
"""The run's list of image digests, by which a resumed run tells what changed."""
WRITTEN = ("checkpoints", "metrics.jsonl", IMAGES, "model", "previews", "tensorboard")
"""What a training writes in its directory, never through a link."""
ROWS, PIXELS = 256, 2**20
"""Images at most, and pixels about, that are encoded at once between two stages."""


@dataclass
class Position:
    """Where a run is; saved with every checkpoint."""

    step: int = 0
    images: int = 0
    seconds: float = 0.0
    stage: int = 0
    stage_step: int = 0
    stage_images: int = 0
    stage_seconds: float = 0.0
    rollbacks: int = 0
    best_step: int | None = None
    best_score: float | None = None
    done: bool = False


@dataclass(frozen=True)
class Result:
    """What a training left."""

    model: Model
    status: str
    """"done", "SIGINT" or "SIGTERM"."""
    position: Position
    notes: list[str] = field(default_factory=list)


class Trainer:
    """One run in one directory.

    config: the complete configuration
    objective: what is trained
    data: the images
    out: the run's directory
    networks: modules for some roles, in place of the zoo's
    resume: continue from the last good checkpoint in ``out``
    display: what shows the progress
    judge: of the quick scores; unset: the one that the settings name
    """

    def __init__(
        self,
        config: Config,
        objective: Objective,
        data: Data,
        out: Path,
        *,
        networks: Mapping[str, nn.Module] | None = None,
        resume: bool = False,
        display: Display | None = None,
        judge: Judge | None = None,
    ):
        self.config, self.data, self.out = config, data, Path(out)
        self.objective = objective.suited(max(data.shape[1:]))
        self.given = dict(networks or {})
        self.resume = resume
        self.display = display or Display()
        self.stages = self.objective.stages()
        self.budget = Budget.parse(config.training.budget)
        self.every = Every.parse(config.training.checkpoint_every)
        self.at = Position()
        self.guard = Guard()
        self.begun = 0.0  # the share of the budget that was spent when the stage began
        self.run_id = uuid.uuid4().hex
        self._changes: list[str] = []
        self._early: list[str] = []
        self.judge = judge
        self.batches: Feed | None = None

    def run(self) -> Result:
        """Trains until the budget is spent or a signal asks to stop; saves in either case."""
        settings = self.config.training
        with ExitStack() as stack:
            self.processes = stack.enter_context(Processes(settings.device, settings.threads))
            if self.processes.first:
                stack.enter_context(RunLock(self.out))
            self.signals = stack.enter_context(Signals())
            stack.callback(self._close_feed)
            self._build()
            stack.callback(self._close)
            try:
                self._begin()
                status = self._train()
            except Stopped as stopped:  # between two stages: the last checkpoint is before it
                status = stopped.name
            model = self.model()
            if self.processes.first and self.at.done:
                model.save(self.out / "model")
            if status == "done" and self.signals.stop:  # too late for a step, not for the judging
                status = self.signals.stop
            return Result(model, status, self.at)

    def _close(self) -> None:
        self.display.close()
        if hasattr(self, "log"):
            self.log.close()

    def refuse(self) -> None:
        """Raises ConfigError where the objective cannot learn from these images."""
        self._shape()

    # -- building and beginning ------------------------------------------------------------------

    def _build(self) -> None:
        settings, device = self.config.training, self.processes.device
        roles = [role for stage in self.stages for role in stage.objective.networks]
        roles = list(dict.fromkeys([*self.objective.networks, *roles]))
        unknown = set(self.given) - set(roles)
        if unknown:
            raise ConfigError(
                f"this objective has no network {', '.join(sorted(unknown))}; "
                f"it has {', '.join(roles)}"
            )
        shape = self._shape()
        kinds = {r: k for stage in self.stages for r, k in stage.objective.kinds.items()}
        torch.manual_seed(mix(settings.seed))
        try:
            self.nets = {
                role: self.given[role]
                if role in self.given
                else zoo.build(kinds.get(role, role), self.config.networks, shape)
                for role in roles
            }
        except ValueError as error:
            raise ConfigError(f"{error}") from error
        self.shape, self.kinds = shape, {r: k for r, k in kinds.items() if r in roles}
        for net in self.nets.values():
            net.to(device)
            net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._synchronise()
        pays = precision.pays(device, self.nets.values())
        self.bf16 = pays if settings.bf16 is None else settings.bf16
        self.average = Average(self.nets)
        told = settings.compile
        if told or (told is None and precision.compiles(device, self.budget.seconds)):
            compile_networks(self.nets, strict=told is True)
        self._enter_stage()
        if self.batches.batch % self._shared_by():
            raise ConfigError(
                f"{self.config.objective} uses one half of every micro-batch in one way and the "
                f"other in another: choose training.batch as a multiple of {self._shared_by()}"
            )

    def _shape(self) -> Shape:
        """What the networks are built for. Raises ConfigError where objective and data differ."""
        channels, height, width = self.data.shape
        if self.data.classes and not self.objective.classes:
            refuse_classes(self.config.objective)
        if self.objective.needs_classes and sum(share > 0 for share in self._class_shares()) < 2:
            raise ConfigError(
                f"{self.config.objective} learns from classes, two or more: name them with "
                f"--data.labels, or choose another --objective"
            )
        source = getattr(self.data, "source_channels", 0)
        task = self.objective.task
        if bool(source) != (task != "generate"):
            has = "with" if source else "without"
            raise ConfigError(
                f"{self.config.objective} learns to {task} images, and cannot from data {has} "
                f"sources: choose the --task and the --objective together"
            )
        if source and self.config.data.augment != "none":
            raise ConfigError(
                "data.augment alters an image but not the source it belongs to: leave it out "
                f"where images are to be {'completed' if task == 'complete' else 'translated'}"
            )
        return Shape(
            channels=channels,
            height=height,
            width=width,
            latent=zoo.latent(self.objective.kinds, self.config.networks, self.data.shape),
            classes=len(self.data.classes),
            source=source,
        )

    def _synchronise(self) -> None:
        tensors = [t for net in self.nets.values() for t in net.state_dict().values()]
        self.processes.broadcast(tensors)

    def _batches(self, seed: int, held_out: bool = False) -> Batches:
        """The stream of training batches; or of a few held-out images, for this process alone."""
        settings = self.config.training
        return Batches(
            self.data.test if held_out else self.data.train,
            batch=8 if held_out else settings.batch,
            seed=seed,
            flip=self.config.data.flip,
            device=self.processes.device,
            multiple=1 if held_out else self._shared_by(),
        )

    def _shared_by(self) -> int:
        """What the batch must be a multiple of: processes times micro-batches, even ones."""
        parts = self.processes.world * self.config.training.accumulate
        halved = any(stage.objective.halved for stage in self.stages)
        return 2 * parts if halved and parts > 1 else parts

    def _feed(self, seed: int) -> Feed:
        """The training batches: of packed images, or of shards that are read while training."""
        settings, processes = self.config.training, self.processes
        if self.data.stream is None:
            return self._batches(seed)
        return StreamBatches(
            self.data.stream,
            batch=settings.batch,
            seed=seed,
            flip=self.config.data.flip,
            device=processes.device,
            rank=processes.rank,
            world=processes.world,
            micros=settings.accumulate,
        )

    def _close_feed(self) -> None:
        if self.batches is not None:
            self.batches.close()

    def _enter_stage(self) -> None:
        """The parts that belong to one stage: its batches, optimisers, alarms."""
        settings = self.config.training
        stage = self.stages[self.at.stage].objective
        seed = mix(settings.seed, self.at.stage, self.at.rollbacks)
        self._close_feed()
        self.batches = self._feed(seed)
        self.engine = Engine(
            {role: self.nets[role] for role in stage.networks},
            stage.optim,
            self.processes,
            lr_scale=settings.lr_scale,
            bf16=self.bf16,
            simultaneous=stage.simultaneous,
        )
        few = range(min(64, len(self.data.train)))
        self.alarms = Alarms(self.data.train.images(few) if len(few) > 1 else None)

    def _begin(self) -> None:
        """Continues from a checkpoint, or writes the first one: a full disk shows at once."""
        folder = self.out / "checkpoints"
        if self.processes.first:
            for name in WRITTEN:
                files.refuse_link(self.out / name)
            preflight.space(self.config, self.out, self.nets)
            checkpoint.writable(self.out)
            checkpoint.clean(folder)
            files.clean(self.out, self.out / "previews")
        found = self._latest() if self.resume else None
        if found is None:
            refuse_finished(self.out)
        else:
            _refuse_foreign(found)
        changed = found is not None and self._check_unchanged(found.meta)
        if found is not None:
            self._restore(found)
        if self.processes.first:
            for name in checkpoint.unknown(folder):
                self._say(f"{folder / name} is no checkpoint of this run: it is left alone")
            tensorboard = self.config.training.tensorboard
            self.log = RunLog(self.out, tensorboard, resume=self.at.step if found else None)
            for text in self._early:  # said before it was known where the log continues
                self.log.event(text, self.at.step)
        self.display.start(str(self.budget))
        for note in self.batches.notes:
            self._say(note)
        if found is None:
            if self.resume:
                self._say(f"{self.out} has no checkpoint yet: starting from the beginning")
            self._describe()
            self._prepare()
            self._save()
        else:
            self._say(f"continuing from step {self.at.step}")
            for changes in self._changes:
                self._say(f"although changed: {changes}")
            if changed:  # or what the next --resume compares with would be what was before
                self._save()
                self._describe()
                if self.processes.first:
                    configuration.save(self.config, self.out / "config.yaml")
        self._note_marks()

    def _describe(self) -> None:
        """Writes down the run's images, with which those of a run that goes on are compared."""
        if self.processes.first:
            files.write(self.out / IMAGES, self.data.manifest().save)

    def _latest(self) -> checkpoint.Checkpoint | None:
        """The newest checkpoint. Raises ConfigError where processes do not find the same one."""
        found = checkpoint.latest(self.out / "checkpoints", self._say)
        step = -1.0 if found is None else float(found.step)
        newest, oldest = self.processes.agree(step, -step)
        if newest != -oldest:
            raise ConfigError(
                f"the processes find different checkpoints in {self.out} (steps {-oldest:.0f} and"
                f" {newest:.0f}): --out must be a directory that all machines share"
            )
        return found

    def _check_unchanged(self, meta: Mapping[str, Any]) -> bool:
        """Whether something changed that may. Raises ConfigError where it may not."""
        changes = configuration.difference(configuration.parse(meta["config"]), self.config)
        if meta["fingerprint"] != self.data.fingerprint:
            known = self.out / IMAGES
            what = difference(known, self.data.manifest()) if known.exists() else "other images"
            changes = "\n".join(filter(None, [changes, str(what)]))
        if not changes:
            return False
        if not self.config.training.allow_changes:
            raise ConfigError(
                f"{self.out} was trained with other settings or images: go back to them, or "
                f"resume with --training.allow-changes\n{changes}"
            )
        self._changes.append(changes)
        return True

    # -- state -----------------------------------------------------------------------------------

    def state(self) -> checkpoint.State:
        """Everything a checkpoint holds, by group."""
        state = {f"networks.{name}": net.state_dict() for name, net in self.nets.items()}
        state |= {f"ema.{name}": net.state_dict() for name, net in self.average.nets.items()}
        state |= {f"optim.{name}": tensors for name, tensors in self.engine.state().items()}
        return state | {"random": {"cpu": torch.get_rng_state()}}

    def _save(self) -> None:
        if not self.processes.first:
            return
        meta = {
            "run": self.run_id,
            "position": asdict(self.at),
            "config": configuration.as_dict(self.config),
            "configuration": configuration.digest(self.config),
            "fingerprint": self.data.fingerprint,
            "data": self.data.fingerprint,
            "changes": self._changes,
            "world": self.processes.world,
            "bf16": self.bf16,
            "guard": self.guard.state(),
            "stream": self.batches.state(),
        }
        checkpoint.save(
            self.out / "checkpoints",
            self.at.step,
            self.state(),
            meta,
            keep=max(2, self.config.training.keep),
            best=self.at.best_step,
        )
        self.saved_step = self.at.step

    def _save_new(self) -> None:
        """A checkpoint of what none holds yet."""
        if self.saved_step != self.at.step:
            self._save()

    def _restore(self, found: checkpoint.Checkpoint, *, rollbacks: int | None = None) -> None:
        position = Position(**found.meta["position"])
        self.at = position if rollbacks is None else replace(position, rollbacks=rollbacks)
        self.run_id = found.meta["run"]
        if self.config.training.bf16 is None:  # as it was begun, whatever this machine is best at
            self.bf16 = found.meta.get("bf16", self.bf16)
        try:
            for name, net in self.nets.items():
                net.load_state_dict(found.state[f"networks.{name}"])
                self.average.nets[name].load_state_dict(found.state[f"ema.{name}"])
            self.stages[self.at.stage]
        except (IndexError, KeyError, RuntimeError):
            raise ConfigError(
                f"{self.out} has other networks or stages than these settings make, which cannot "
                f"be trained further with them: go back to its objective, networks and data.size"
            ) from None
        at = self.at
        before = (at.step - at.stage_step, at.images - at.stage_images)
        self.begun = self.budget.progress(*before, at.seconds - at.stage_seconds)
        self._enter_stage()
        self._continue_feed(found, anew=rollbacks is not None)
        with gate(f"the checkpoint {found.path}", CheckpointError):
            self.engine.load_state(
                {k.removeprefix("optim."): v for k, v in found.state.items() if k[:6] == "optim."}
            )
            torch.set_rng_state(found.state["random"]["cpu"])
        if rollbacks is None:
            self.guard.load_state(found.meta["guard"])
            self._changes = [*found.meta["changes"], *self._changes]
            self.at.done = self.at.done and not self._progress_is_open()

    def _continue_feed(self, found: checkpoint.Checkpoint, anew: bool) -> None:
        """Goes on in the order of the images; after a rollback, or changes, in a new one."""
        was, now = found.meta["world"], self.processes.world
        state = None if anew else found.meta.get("stream")
        if self.batches.restore(state, self.at.stage_step, self.processes.agree):
            if was != now:
                self._say(
                    f"{was} process(es) became {now}: the samples "
                    f"stay the same, but the result is not bit-exact"
                )
        elif not anew:
            if was != now and not self.config.training.allow_changes:
                raise ConfigError(
                    f"{self.out} was trained by {was} process(es) that read shards of their own,"
                    f" and {now} would read others: start {was}, or resume with"
                    " --training.allow-changes, and the order of the images begins anew"
                )
            self._say("the order of the images begins anew")

    # -- the loop --------------------------------------------------------------------------------

    def _train(self) -> str:
        status = "done"
        while not self.at.done:
            progress = self._progress()
            stop = self._stop()
            if stop:
                status = stop
                break
            if progress >= self._end_of(self.at.stage):
                if self.at.stage + 1 == len(self.stages):
                    break
                self._next_stage()
                self.begun = self._progress()
                continue
            started = time.perf_counter()
            outcome = self._step(progress)
            if self.processes.device.type == "cuda" and self.budget.seconds:
                torch.cuda.synchronize()
            taken = time.perf_counter() - started
            self.at.seconds += taken
            self.at.stage_seconds += taken
            self._after(outcome)
        if status == "done" and not self.at.done:
            self._save_new()
            self._conclude()
            self.at.done, self.saved_step = True, -1
        self._save_new()
        return status

    def _progress(self) -> float:
        progress = self.budget.progress(self.at.step, self.at.images, self.at.seconds)
        return self.processes.follow(progress)[0] if self.budget.seconds else progress

    def _stop(self) -> str | None:
        """Why to end the loop; asked before each of its steps."""
        return self._signal()

    def _signal(self) -> str | None:
        """The signal that some process was sent, on which all agree."""
        codes = {None: 0.0, "SIGINT": 1.0, "SIGTERM": 2.0}
        code = self.processes.agree(codes[self.signals.stop])[0]
        return {value: name for name, value in codes.items()}[code]

    def _end_of(self, stage: int) -> float:
        if stage + 1 == len(self.stages):
            return 1.0
        return sum(s.share for s in self.stages[: stage + 1])

    def _step(self, progress: float) -> Outcome:
        stage, settings = self.stages[self.at.stage], self.config.training
        within = (progress - self.begun) / max(self._end_of(self.at.stage) - self.begun, 1e-9)
        now = Clock(step=self.at.stage_step, progress=min(1.0, max(0.0, within)))
        micros = settings.accumulate
        self.batches.meet(self.at.stage_step, self.processes.agree)
        place = {"rank": self.processes.rank, "world": self.processes.world, "micros": micros}
        steps = []
        for micro in range(micros):
            batch = self.batches.at(self.at.stage_step, micro=micro, **place)
            steps.append(self._objective_step(stage.objective, batch, now))
        return self.engine.step(steps, rate(now.progress, stage.objective.optim))

    def _objective_step(self, objective: Objective, batch: Batch, now: Clock) -> Step:
        nets = self.nets
        if self.config.data.augment == "diffaugment" and "discriminator" in nets:
            nets = {**nets, "discriminator": Augmented(nets["discriminator"], batch.noise)}
        return objective.step(nets, batch, now)

    def _after(self, outcome: Outcome) -> None:
        at, size = self.at, self.batches.batch
        at.step, at.images = at.step + 1, at.images + size
        at.stage_step, at.stage_images = at.stage_step + 1, at.stage_images + size
        if outcome.ok:
            keep = decay(at.stage_images, size, self.config.training.ema_half_life)
            self.average.update(outcome.moved, keep)
        verdict = self.guard.step(outcome.ok)
        if verdict != "ok":
            bad = ", ".join(n for n, v in outcome.losses.items() if not torch.isfinite(v))
            self._say(f"step {at.step} skipped: not finite ({bad or 'a gradient'})")
        if verdict == "rollback":
            return self._roll_back()
        if verdict == "stop":
            raise DivergedError(
                "the training keeps producing numbers that are not finite; the last healthy "
                f"checkpoint is in {self.out / 'checkpoints'}: look for broken images with "
                "`ganvae check`, or lower training.lr_scale"
            )
        self._watch(outcome)
        self._report(outcome)
        self._do_due()

    @torch.no_grad()
    def _watch(self, outcome: Outcome) -> None:
        """Looks for a run that goes nowhere: every tenth step, and at samples every fiftieth."""
        step = self.at.stage_step
        if not self.processes.first or not outcome.ok or (step > 1 and step % 10):
            return
        values = {f"loss/{name}": float(v) for name, v in outcome.losses.items()}
        values |= {name: float(v) for name, v in outcome.logged.items()}
        sample = None
        if step % 50 == 0:
            sample = self._sample(self.batches.at(step))
        moved = {name: self.nets[name] for name in outcome.moved}
        for message in self.alarms.observe(step, values, sample, moved):
            self._say(message)

    def _sample(self, batch: Batch) -> Tensor:
        """Some images of the averaged networks, for the alarms.

        Where the prior is fitted only at the end, z is drawn from what it will be fitted to.
        """
        objective, nets = self.stages[self.at.stage].objective, self.average.nets
        if objective.task != "generate":
            return self._from_sources(batch, 16, 1)[:, 0]
        x, c = batch.image[:16], tuple(told[:16] for told in batch.condition)
        fits = self._fits_prior()
        total = len(x) if fits or c else 16
        noise = Noise(self.at.step, total=total, device=self.processes.device)
        prior: Any = nets["prior"]
        z = nets["encoder"](x, *c).rsample(noise) if fits else prior.sample(noise, *c)
        sample: Tensor = nets[objective.generator](z, *c)
        return sample

    def _fits_prior(self) -> bool:
        """Whether p(z) is fitted at the end of the stage; N(0, I) stays what it is."""
        fits = self.stages[self.at.stage].objective.fits_prior
        return fits and self.config.networks.prior != "normal"

    def _from_sources(self, batch: Batch, n: int, variants: int) -> Tensor:
        """What the averaged networks make of n of a batch's sources: (n, variants, C, H, W)."""
        assert batch.source is not None
        model, source = self.model(), batch.source[:n]
        if model.info.task == "complete":
            return model.complete(batch.image[:n], source[:, -1:] > 0, variants)
        return model.translate(source, variants)

    def _class_shares(self) -> list[float]:
        """How much of the training images each class has."""
        labels = self.data.train.labels
        if labels is None:
            return []
        counts = np.bincount(labels, minlength=len(self.data.classes))
        return [float(count) / len(labels) for count in counts]

    def _roll_back(self) -> None:
        rollbacks = self.at.rollbacks + 1
        found = self._latest()
        assert found is not None, "the first checkpoint is written before the first step"
        self._restore(found, rollbacks=rollbacks)
        self._note_marks()
        if self.processes.first:
            self.log.rewind(self.at.step)
        self._say(f"back to step {self.at.step}, with another order of the images")

    # -- stages ----------------------------------------------------------------------------------

    def _stream(self, salt: int) -> Iterator[Batch]:
        """Training images for preparing and concluding a stage, the same on every process.

        In batches that suit the encoder, whatever those of the training are.
        """
        rows = max(1, min(ROWS, PIXELS // math.prod(self.data.shape[1:])))
        batches = Batches(
            self.data.train,
            batch=rows,
            seed=mix(self.config.training.seed, self.at.stage, salt),
            flip=self.config.data.flip,
            device=self.processes.device,
            repeat=True,
        )
        return (batches.at(step) for step in count())

    def _between_steps(self, work: Callable[[], None]) -> None:
        """Long work that each process does for itself, and that a signal cuts short.

        It leaves no checkpoint, so that a run that goes on begins it anew. Raises Stopped, on all
        processes where on one.
        """
        with suppress(Stopped), self.signals.interruptible():
            work()
        stop = self._signal()
        if stop:
            raise Stopped(stop)

    def _prepare(self) -> None:
        objective = self.stages[self.at.stage].objective
        self._between_steps(lambda: objective.prepare(self.nets, self._stream(101)))
        self._synchronise()
        self.average = Average(self.nets)

    def _conclude(self) -> None:
        """The stage's last act, on the averaged networks, which the next stage inherits.

        Its time is the training's: the next stage has what is left of a budget in time.
        """
        start, objective = time.perf_counter(), self.stages[self.at.stage].objective
        if type(objective).conclude is not Objective.conclude:
            stage = f"stage {self.at.stage + 1} of {len(self.stages)}"
            self.display.message(f"{stage} is trained: fitting to the images")
        last = copy.deepcopy(self.average.nets)  # a conclusion cut short leaves no trace
        self._between_steps(lambda: objective.conclude(last, self._stream(102)))
        self.average.nets = last
        self.average.hand_over(self.nets)
        self._synchronise()
        self.average = Average(self.nets)
        self.at.seconds += time.perf_counter() - start

    def _next_stage(self) -> None:
        self._save_new()
        self._conclude()
        self.at.stage, self.at.stage_step, self.at.stage_images = self.at.stage + 1, 0, 0
        self.at.stage_seconds = 0.0
        self._enter_stage()
        self._prepare()
        name = type(self.stages[self.at.stage].objective).__name__
        self._say(f"stage {self.at.stage + 1} of {len(self.stages)}: {name}")

    # -- what is due now and then ----------------------------------------------------------------

    def _note_marks(self) -> None:
        self.marks = self._due_marks()
        self.shown_at, self.shown_step = time.perf_counter(), self.at.step
        self.score: dict[str, float] | None = None
        self.saved_step = self.at.step

    def _due_marks(self) -> dict[str, int]:
        settings, at = self.config.training, self.at
        progress = self.budget.progress(at.step, at.images, at.seconds)
        return {
            "checkpoint": self.every.count(at.step, at.images, at.seconds),
            "preview": int(progress * settings.previews),
            "evaluation": int(progress * (settings.evaluations + 1)),
        }

    def _do_due(self) -> None:
        before, self.marks = self.marks, self._due_marks()
        due = {name for name, value in self.marks.items() if value > before[name]}
        if not self.processes.first:
            return
        if "evaluation" in due and not self._progress_is_open():
            due.remove("evaluation")
        if due & {"preview", "evaluation"}:
            with suppress(Stopped):  # the loop sees it, too
                self._look(due)
        if "checkpoint" in due:
            self._save()

    def _progress_is_open(self) -> bool:
        return self.budget.progress(self.at.step, self.at.images, self.at.seconds) < 1.0

    def _look(self, due: set[str]) -> None:
        """A preview and a quick score of what the run would leave if its stage ended now."""
        with self.signals.interruptible():
            model = self.model()
            if self._fits_prior():
                model = quick_prior.fitted(model, self.data.train)
            if "preview" in due:
                self._preview(model)
        if "evaluation" in due:
            self._evaluate(model)

    @torch.no_grad()
    def _preview(self, model: Model) -> None:
        if self.objective.task != "generate":
            return self._preview_sources()
        rows = spread(len(self.data.test), 8)
        real = self.data.test.images(rows).to(self.processes.device)
        labels = self.data.test.labels
        label = None if labels is None else torch.from_numpy(labels[rows])
        again = model.reconstruct(real, label) if "encoder" in model.networks else None
        previews.write(self.out, self.at.step, real, again, model.generate(32, seed=0))

    def _preview_sources(self) -> None:
        """Sources, targets, and four variants of what becomes of each source."""
        batch = self._batches(0, held_out=len(self.data.test) > 0).at(0)
        made = self._from_sources(batch, 8, 4).transpose(0, 1).flatten(0, 1)
        assert batch.source is not None
        sources = batch.source[:8, : self.shape.channels]
        if sources.shape[1] < self.shape.channels:
            sources = sources[:, :1].expand(-1, self.shape.channels, -1, -1)
        previews.write(self.out, self.at.step, sources, batch.image[:8], made)

    def _evaluate(self, model: Model) -> None:
        settings = self.config.evaluation
        if self.judge is None:
            self.judge = judges.load(settings.judge, settings.size, self.processes.device)
        with self.signals.interruptible():
            score = quick(model, self.data.test, self.judge)
        self.score = score
        shown = {name: score[name] for name in ("kid", "kid_error", "mse")}
        self.log.scalars(self.at.step, shown, images=self.at.images, seconds=self.at.seconds)
        kid = score.get("kid")
        best = math.inf if self.at.best_score is None else self.at.best_score
        if kid is not None and kid < best:
            self.at.best_score, self.at.best_step = kid, self.at.step
            self._save()

    def _report(self, outcome: Outcome) -> None:
        """Shows and logs about twice a second: more would make a GPU wait."""
        now = time.perf_counter()
        elapsed, steps = now - self.shown_at, self.at.step - self.shown_step
        due = elapsed >= 0.5 or self.at.step % 50 == 0 or not self._progress_is_open()
        if not self.processes.first or not due:
            return
        values = {f"loss/{name}": float(v) for name, v in outcome.losses.items()}
        values |= {f"norm/{name}": float(v) for name, v in outcome.norms.items()}
        values |= {name: float(v) for name, v in outcome.logged.items()}
        speed = steps * self.batches.batch / max(elapsed, 1e-9)
        self.log.scalars(
            self.at.step,
            values | {"images_per_s": speed, "stage": self.at.stage},
            images=self.at.images,
            seconds=self.at.seconds,
        )
        progress = self.budget.progress(self.at.step, self.at.images, self.at.seconds)
        remaining = self.at.seconds * (1 - progress) / max(progress, 1e-9)
        losses = {name: float(v) for name, v in outcome.losses.items()}
        self.display.update(
            self.at.step, self.at.images, speed, losses, remaining, self.score, progress
        )
        self.shown_at, self.shown_step = now, self.at.step

    def _say(self, text: str) -> None:
        if not self.processes.first:
            return
        self.display.message(text)
        if hasattr(self, "log"):
            self.log.event(text, self.at.step)
        else:
            self._early.append(text)

    # -- the model -------------------------------------------------------------------------------

    def model(self) -> Model:
        """The model as it is now: the averaged weights of what inference needs."""
        objective = self.stages[self.at.stage].objective
        kept = ("encoder", objective.decoder, objective.generator, "prior", "likelihood")
        networks = {n: self.average.nets[n] for n in dict.fromkeys(kept) if n in self.nets}
        info = ModelInfo.of(
            self.config,
            self.shape,
            task=self.objective.task,
            paired=self.objective.paired,
            decoder=objective.decoder,
            generator=objective.generator,
            kinds=self.kinds,
            classes=self.data.classes,
            class_shares=self._class_shares(),
            depth=getattr(self.data, "depth", None),
            source_depth=getattr(self.data, "source_depth", None),
            fingerprint=self.data.fingerprint,
            train_images=None if self.data.stream else len(self.data.train),
            test_images=len(self.data.test),
            images=self.at.images,
            steps=self.at.step,
            seconds=round(self.at.seconds, 3),
            custom=sorted(set(self.given) & set(networks)),
        )
        return Model(networks, info)


def refuse_finished(out: Path) -> None:
    """Raises ConfigError where a run without checkpoints has trained: it would begin anew."""
    begun = any(line["step"] > 0 for line in read(out / "metrics.jsonl"))
    if begun or (out / "model").exists():
        raise ConfigError(
            f"{out} holds a training and its checkpoints are gone, so it cannot go on: put them "
            f"back, or begin another one with another --out"
        )


def compile_networks(nets: Mapping[str, nn.Module], *, strict: bool = True) -> None:
    """Compiles the networks in place, when they are first called.

    Buffers may not be donated: moves share graphs, so a backward pass keeps them for the next.

    strict: raise where a part cannot be compiled; else it stays as it is, with a warning
    """
    from torch._dynamo import config as dynamo  # which takes a second

    functorch.donated_buffer = False
    dynamo.suppress_errors = not strict
    if hasattr(functorch, "force_non_lazy_backward_lowering"):  # errors there are warnings, too
        functorch.force_non_lazy_backward_lowering = not strict
    for net in nets.values():
        net.compile(dynamic=False)  # its batches have few sizes


def _refuse_foreign(found: checkpoint.Checkpoint) -> None:
    """Raises CheckpointError for what no trainer has written, however well it is signed."""
    with gate(f"the checkpoint {found.path}", CheckpointError):
        parse(Position, found.meta["position"], "position")
        wrong = [name for name, kind in META.items() if not isinstance(found.meta[name], kind)]
        if wrong:
            raise ValueError(f"{', '.join(wrong)} are not what a trainer writes")
