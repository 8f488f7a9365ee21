#!/bin/bash
# One stage of the paper's training under SLURM, from the root of the repository on a shared disk:
#     sbatch experiments/cluster/slurm.sh t2i [key=value ...]
# srun starts one process a GPU, which Lightning finds by itself. When the job's time ends it is put
# back into the queue, and goes on from its last checkpoint. With STRATEGY=fsdp before sbatch the
# weights are sharded over the GPUs, with STRATEGY=deepspeed gradients and moments; a checkpoint of
# any strategy goes on under the others.
#SBATCH --job-name=ladder
#SBATCH --nodes=1
#SBATCH --ntasks-per-node=8
#SBATCH --gpus-per-node=8
#SBATCH --cpus-per-task=8
#SBATCH --time=24:00:00
#SBATCH --requeue
#SBATCH --output=runs/slurm-%j.log
set -euo pipefail
stage=$1
shift
: "${STRATEGY:=ddp}"
exec srun python -m ladder.cli.main train "$stage" --profile paper \
    cluster.strategy="$STRATEGY" cluster.devices="$SLURM_NTASKS_PER_NODE" \
    cluster.nodes="$SLURM_JOB_NUM_NODES" "$@"
