"""What a run writes while it trains, and how it goes on from that."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from accelerate import Accelerator
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from training.data.cache import Cache
from training.data.files import read_rows, write_json, write_rows
from training.recipes import Config

from . import folder as runs

# between the start of a run and its going on
MAY_CHANGE = ("epochs", "patience", "workers", "cache", "output", "init")


@dataclass(frozen=True)
class Epoch:
    """The figures of one epoch; ``margin`` of the loss, ``seconds`` of the training alone."""

    number: int
    train_loss: float
    validation_loss: float
    validation_auc: float
    rate: float
    margin: float
    exams: int
    seconds: float

    def row(self) -> dict:
        """A line of metrics.csv."""
        return {
            "epoch": self.number,
            "train_loss": round(self.train_loss, 5),
            "validation_loss": round(self.validation_loss, 5),
            "validation_auc": round(self.validation_auc, 5),
            "rate": self.rate,
            "margin": round(self.margin, 4),
            "exams": self.exams,
            "seconds": round(self.seconds, 1),
            "exams_per_s": round(self.exams / self.seconds, 2),
        }


@dataclass
class Progression:
    """Epochs done, the best validation AUC, and the epochs since it."""

    epochs: int = 0
    best: float = -1.0
    waited: int = 0


def epochs_so_far(recipe: str, config: Config, exams: Cache) -> list[dict]:
    """The rows of metrics.csv of a run that may have begun; InputError where its folder holds another."""
    _card(recipe, config, exams)
    return read_rows(config.output / "metrics.csv")


def _card(recipe: str, config: Config, exams: Cache) -> dict:
    """config.json of a run; InputError where its folder holds another."""
    card = runs.describe(recipe, config, exams)
    runs.refuse_another(config.output / "config.json", card, MAY_CHANGE)
    runs.refuse_another_split(config.output, exams.rows)
    return card


class Log:
    """One run's folder. Only the main process writes; every process reads the checkpoint.

    Parameters
    ----------
    recipe : str
        Name of the recipe.
    config : Config
        Of the run.
    exams : Cache
        That it learns from.
    ancestry : list of dict
        Patients that runs before it have seen.
    accelerator : Accelerator
        Of this process.
    precision : str
        That is computed in.

    Raises
    ------
    InputError
        When the folder holds another run.
    """

    def __init__(
        self,
        recipe: str,
        config: Config,
        exams: Cache,
        ancestry: list[dict],
        accelerator: Accelerator,
        precision: str,
    ):
        self.folder, self.accelerator = config.output, accelerator
        self.rows: list[dict] = []
        self.events = None
        card = _card(recipe, config, exams)
        accelerator.wait_for_everyone()
        if accelerator.is_main_process:
            device = torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"
            environment = runs.environment(device, accelerator.num_processes, precision)
            write_json(self.folder / "environment.json", environment)
            write_rows(self.folder / "split.csv", exams.rows)
            runs.remember_patients(self.folder, ancestry)
            write_json(self.folder / "config.json", card)

    def resume(self, network, optimiser, schedule) -> Progression:
        """Load the last checkpoint, if there is one."""
        path = self.folder / "last" / "state.pt"
        if not path.exists():
            return Progression()
        state = torch.load(path, weights_only=True, map_location="cpu")
        self.accelerator.unwrap_model(network).load_state_dict(state["network"])
        optimiser.load_state_dict(state["optimiser"])
        schedule.load_state_dict(state["schedule"])
        if self.accelerator.scaler is not None:
            self.accelerator.scaler.load_state_dict(state["scaler"])
        self.rows = state["rows"]
        if self.accelerator.is_main_process:  # the run may have ended between the checkpoint and the table
            write_rows(self.folder / "metrics.csv", self.rows)
        return Progression(state["epochs"], state["best"], state["waited"])

    @contextmanager
    def progress(self, epoch: int, exams: int) -> Iterator[Callable[[int, float], None]]:
        """A bar with the time left; gives a function of (exams done, loss)."""
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        columns += (TextColumn("{task.fields[loss]}"),)
        with Progress(*columns, disable=not self.accelerator.is_main_process, transient=True) as bar:
            task = bar.add_task(f"epoch {epoch + 1}", total=exams, loss="")
            yield lambda done, loss: bar.update(task, advance=done, loss=f"loss {loss:.3f}")

    def epoch(self, epoch: Epoch) -> None:
        """Print an epoch's figures and add them to the TensorBoard."""
        row = epoch.row()
        self.rows.append(row)
        if not self.accelerator.is_main_process:
            return
        texts = [f"{k} {v:.3g}" if isinstance(v, float) else f"{k} {v}" for k, v in row.items()]
        print(", ".join(texts), flush=True)
        if self.events is None:
            from torch.utils.tensorboard import SummaryWriter

            self.events = SummaryWriter(str(self.folder / "tensorboard"), purge_step=epoch.number)
        for key in ("train_loss", "validation_loss", "validation_auc", "rate", "margin", "exams_per_s"):
            self.events.add_scalar(key, row[key], epoch.number)
        self.events.flush()

    def save(self, network, optimiser, schedule, progression: Progression, better: bool) -> None:
        """Checkpoint after an epoch.

        The best weights are written first: were only they written, the epoch is done again, alike.
        """
        if self.accelerator.is_main_process:
            plain, scaler = self.accelerator.unwrap_model(network), self.accelerator.scaler
            if better:
                runs.save_weights(plain, self.folder / "best.safetensors")
            runs.save_weights(plain, self.folder / "last.safetensors")
            state = {
                "network": plain.state_dict(),
                "optimiser": optimiser.state_dict(),
                "schedule": schedule.state_dict(),
                "scaler": None if scaler is None else scaler.state_dict(),
                "rows": self.rows,
                "epochs": progression.epochs,
                "best": progression.best,
                "waited": progression.waited,
            }
            runs.save_state(state, self.folder / "last" / "state.pt")
            write_rows(self.folder / "metrics.csv", self.rows)
        self.accelerator.wait_for_everyone()

    def close(self) -> None:
        if self.events is not None:
            self.events.close()
        self.accelerator.end_training()
