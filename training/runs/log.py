"""What a run writes while it trains: configuration, metrics, TensorBoard events, checkpoints; and how it goes on from them."""

from __future__ import annotations

import json
from contextlib import contextmanager

import torch

from BreastCMSLLib.core.errors import InputError
from training.data.cache import Cache, write_atomically
from training.recipes import Config
from training.runs import folder as runs

MAY_CHANGE = ("epochs", "patience", "workers", "resident", "cache", "output", "init")  # between the start of a run and its going on


class Log:
    """One run's folder. Only the main process writes; every process reads the checkpoint."""

    def __init__(self, recipe: str, config: Config, exams: Cache, ancestry: list[dict], accelerator, precision: str):
        self.folder, self.accelerator = config.output, accelerator
        self.rows: list[dict] = []
        self.events = None
        card = runs.describe(recipe, config, exams.contract, str(exams.folder), exams.source)
        self._refuse_another_run(card)
        accelerator.wait_for_everyone()
        if accelerator.is_main_process:
            self.folder.mkdir(parents=True, exist_ok=True)
            device = torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"
            environment = runs.environment(device, accelerator.num_processes, precision)
            write_atomically(self.folder / "environment.json", json.dumps(environment, indent=1) + "\n")
            runs.write_rows(self.folder / "split.csv", exams.rows)
            if ancestry:
                runs.write_rows(self.folder / "ancestry.csv", ancestry)
            write_atomically(self.folder / "config.json", json.dumps(card, indent=1) + "\n")

    def _refuse_another_run(self, card: dict) -> None:
        path = self.folder / "config.json"
        if not path.exists():
            return
        before, now = json.loads(path.read_text()), json.loads(json.dumps(card))
        for key in now:
            if key not in MAY_CHANGE and before.get(key) != now[key]:
                raise InputError(f"{self.folder} holds a run with another {key} ({before.get(key)}); choose another --output.")

    def resume(self, network, optimiser, schedule) -> tuple[int, float, int]:
        """Epochs done, the best validation AUC, and the epochs since."""
        path = self.folder / "last" / "state.pt"
        if not path.exists():
            return 0, -1.0, 0
        state = torch.load(path, weights_only=True, map_location="cpu")
        self.accelerator.unwrap_model(network).load_state_dict(state["network"])
        optimiser.load_state_dict(state["optimiser"])
        schedule.load_state_dict(state["schedule"])
        if self.accelerator.scaler is not None:
            self.accelerator.scaler.load_state_dict(state["scaler"])
        self.rows = state["rows"]
        if self.accelerator.is_main_process:  # the run may have ended between the checkpoint and the table
            runs.write_rows(self.folder / "metrics.csv", self.rows)
        return state["epochs"], state["best"], state["waited"]

    @contextmanager
    def progress(self, epoch: int, exams: int):
        """A bar with the time left; gives a function of (exams done, loss)."""
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[loss]}"),
        )
        with Progress(*columns, disable=not self.accelerator.is_main_process, transient=True) as bar:
            task = bar.add_task(f"epoch {epoch + 1}", total=exams, loss="")
            yield lambda done, loss: bar.update(task, advance=done, loss=f"loss {loss:.3f}")

    def epoch(
        self, epoch: int, loss: float, check_loss: float, check_auc: float, rate: float, margin: float, seen: int, seconds: float
    ) -> None:
        row = {
            "epoch": epoch + 1,
            "train_loss": round(loss, 5),
            "validation_loss": round(check_loss, 5),
            "validation_auc": round(check_auc, 5),
            "rate": rate,
            "margin": round(margin, 4),
            "exams": seen,
            "seconds": round(seconds, 1),
            "exams_per_s": round(seen / seconds, 2),
        }
        self.rows.append(row)
        if not self.accelerator.is_main_process:
            return
        print(", ".join(f"{k} {v:.3g}" if isinstance(v, float) else f"{k} {v}" for k, v in row.items()), flush=True)
        if self.events is None:
            from torch.utils.tensorboard import SummaryWriter

            self.events = SummaryWriter(str(self.folder / "tensorboard"), purge_step=epoch + 1)
        for key in ("train_loss", "validation_loss", "validation_auc", "rate", "margin", "exams_per_s"):
            self.events.add_scalar(key, row[key], epoch + 1)
        self.events.flush()

    def save(self, network, optimiser, schedule, epochs: int, best: float, waited: int, better: bool) -> None:
        """Checkpoint after an epoch. The best weights are written first: were only they written, the epoch is done again, alike."""
        if self.accelerator.is_main_process:
            plain = self.accelerator.unwrap_model(network)
            if better:
                runs.save_weights(plain, self.folder / "best.safetensors")
            state = {
                "network": plain.state_dict(),
                "optimiser": optimiser.state_dict(),
                "schedule": schedule.state_dict(),
                "scaler": None if self.accelerator.scaler is None else self.accelerator.scaler.state_dict(),
                "rows": self.rows,
                "epochs": epochs,
                "best": best,
                "waited": waited,
            }
            runs.save_state(state, self.folder / "last" / "state.pt")
            runs.write_rows(self.folder / "metrics.csv", self.rows)
        self.accelerator.wait_for_everyone()

    def finish(self) -> None:
        if self.accelerator.is_main_process:
            from training.evaluation.figures import training_curves

            training_curves(self.folder)
            if self.events is not None:
                self.events.close()
            print(self.folder)
        self.accelerator.end_training()
