"""A batch on a SLURM cluster: so many jobs, each with a Dask worker, for as long as the batch takes.

    pip install "breastcmsl[cluster]" dask-jobqueue
    python examples/slurm_batch.py WORKLIST --output OUT --jobs 16 --queue gpu

Start it where ``sbatch`` works, in a terminal that lasts (tmux). Worklist, exams and output have to lie on a
disk that all nodes see. When it is killed, its jobs end too, and the same command goes on. The options of
SLURM below are those of one cluster: adapt them. ``PBSCluster`` and the others of dask-jobqueue work alike.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

if not __package__:  # run by its path, which puts this folder first
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from BreastCMSLLib import cli


def cluster(queue: str | None, **more):
    """A cluster without workers: each will have one thread, and end before SLURM ends it."""
    from dask_jobqueue import SLURMCluster

    return SLURMCluster(
        queue=queue,
        cores=1,
        processes=1,
        memory="6GB",
        walltime="04:00:00",
        worker_extra_args=["--lifetime", "230m", "--lifetime-stagger", "5m"],
        **more,
    )


def main() -> int:
    whole = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=whole)
    parser.add_argument("worklist")
    parser.add_argument("--output", required=True)
    parser.add_argument("--jobs", type=int, default=8, help="of SLURM")
    parser.add_argument("--queue", help="SLURM's partition")
    options, further = parser.parse_known_args()  # further ones are those of breastcmsl batch
    with cluster(options.queue) as jobs:
        jobs.adapt(minimum=options.jobs, maximum=options.jobs)  # those that ended are replaced
        dask = ["--engine", "dask", "--scheduler", jobs.scheduler_address]
        return cli.main(["batch", options.worklist, "--output", options.output, *dask, *further])


if __name__ == "__main__":
    raise SystemExit(main())
