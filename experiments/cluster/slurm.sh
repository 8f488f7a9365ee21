#!/bin/bash
# One stage of the paper's training under SLURM, from the root of the repository on a shared disk:
#     sbatch experiments/cluster/slurm.sh t2i [key=value ...]
# srun starts one process a GPU, which Lightning finds by itself. Two minutes before the job's time
# ends SLURM sends SIGUSR1 to this script, which puts the job back into the queue; it then goes on
# from its last checkpoint. With STRATEGY=fsdp before sbatch the weights are sharded over the GPUs,
# with STRATEGY=deepspeed gradients and moments; a checkpoint of any strategy goes on under the
# others.
#SBATCH --job-name=ladder
#SBATCH --nodes=1
#SBATCH --ntasks-per-node=8
#SBATCH --gpus-per-node=8
#SBATCH --cpus-per-task=8
#SBATCH --time=24:00:00
#SBATCH --requeue
#SBATCH --signal=B:USR1@120
#SBATCH --open-mode=append
#SBATCH --output=runs/slurm-%j.log
set -euo pipefail
stage=$1
shift
: "${STRATEGY:=ddp}"
requeue() {
    echo "time is up: job $SLURM_JOB_ID goes back into the queue"
    scontrol requeue "$SLURM_JOB_ID"
}
trap requeue USR1
# In the background, since bash runs a trap only between commands.
srun python -m ladder.cli.main train "$stage" --profile paper \
    cluster.strategy="$STRATEGY" cluster.devices="$SLURM_NTASKS_PER_NODE" \
    cluster.nodes="$SLURM_JOB_NUM_NODES" "$@" &
training=$! code=0
wait $training || code=$?
# The signal ends that wait, and training goes on until SLURM ends it.
if kill -0 $training 2>/dev/null; then
    code=0
    wait $training || code=$?
fi
exit $code
