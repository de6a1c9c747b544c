"""The study: where trials are kept, which one is next, and what a kill leaves behind.

What trial comes next follows from the seed, the number of finished trials and their results, and
from nothing else. A study that was killed and goes on therefore tries what it would have tried.
"""

import logging
import platform
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import make_url
from sqlalchemy.exc import SQLAlchemyError

from mental_slm.fingerprints import digest
from mental_slm.pipelines.sweep.options import SweepOptions

logger = logging.getLogger(__name__)

FINISHED = (TrialState.COMPLETE, TrialState.PRUNED)

#: Trials drawn at random before the sampler learns from them (Bergstra et al. 2011 call for some).
RANDOM_TRIALS = 5

FILE_NAME = "study.db"


def open_study(name: str, options: SweepOptions, workspace: Path) -> optuna.Study:
    """Open the study of a name, or begin it.

    Args:
        name: What makes the study: another space, budget, base or data is another study.
        options: ``storage`` and ``pruner`` count.
        workspace: Holds the sqlite file where there is no ``storage``.

    Raises:
        ValueError: The storage cannot be opened, or its URL holds a password.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    url = options.storage or f"sqlite:///{workspace / FILE_NAME}"
    try:
        if make_url(url).password:
            raise ValueError(
                "sweep.storage: holds a password, which would end in the run manifest; leave it "
                "out and give it to the driver, e.g. in PGPASSWORD or ~/.pgpass"
            )
        return optuna.create_study(
            study_name=name,
            storage=optuna.storages.RDBStorage(url),
            pruner=make_pruner(options),
            direction="minimize",
            load_if_exists=True,
        )
    except (
        SQLAlchemyError,
        ImportError,
        RuntimeError,
        optuna.exceptions.StorageInternalError,
    ) as error:
        reason = str(error).strip().splitlines()[0]
        raise ValueError(
            f"sweep.storage: {url} cannot be opened as a study ({reason}); give a database that "
            "optuna can use, or null for a file in the workspace"
        ) from error


def make_pruner(options: SweepOptions) -> optuna.pruners.BasePruner:
    """Return the pruner; its steps are the validations of a trial, from 1."""
    if options.pruner == "median":
        return optuna.pruners.MedianPruner(n_startup_trials=options.unpruned_trials)
    if options.pruner == "hyperband":
        return optuna.pruners.HyperbandPruner(1, options.validations)
    return optuna.pruners.NopPruner()


def make_sampler(seed: int, finished: int) -> optuna.samplers.BaseSampler:
    """Return the sampler of the next trial.

    One for the whole study would draw its first numbers again after a restart.
    """
    return optuna.samplers.TPESampler(
        seed=int(digest([seed, finished]), 16) % 2**32, n_startup_trials=RANDOM_TRIALS
    )


def finished_trials(study: optuna.Study) -> list[FrozenTrial]:
    """Return the trials that came to their end or were pruned."""
    return study.get_trials(deepcopy=False, states=FINISHED)


def name_place(workspace: Path) -> str:
    """Return what tells this workspace from others that share a storage, without saying where."""
    return digest([platform.node(), str(workspace.resolve())])


def requeue_killed(study: optuna.Study, place: str, shared: bool) -> int:
    """Queue the trials again that a kill cut off in this place; return how many.

    Args:
        study: The study.
        place: From :func:`name_place`. Only one program at a time works there, so what still counts
            as running there is not.
        shared: Whether there may be trials of other places.
    """
    running = study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
    killed = [one for one in running if not shared or one.user_attrs.get("place") == place]
    for trial in killed:
        study.tell(trial.number, state=TrialState.FAIL)
        kept: dict[str, Any] = {
            name: trial.user_attrs[name]
            for name in ("recipe", "searched")
            if name in trial.user_attrs
        }
        study.enqueue_trial(trial.params, user_attrs=kept)
        logger.info("trial %d was cut off; it is tried again", trial.number)
    return len(killed)
