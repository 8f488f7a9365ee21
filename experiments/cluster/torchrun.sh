#!/bin/bash
# One stage of the paper's training on the GPUs of this machine:
#     experiments/cluster/torchrun.sh t2i [key=value ...]
# On several machines, run it on each with NODES=4 and HOST=<the first machine>. An interrupted
# stage goes on from its last checkpoint when it is started again. With STRATEGY=fsdp the
# weights are sharded over the GPUs, with STRATEGY=deepspeed gradients and moments; a checkpoint of
# any strategy goes on under the others.
set -euo pipefail
stage=$1
shift
: "${STRATEGY:=ddp}" "${GPUS:=8}" "${NODES:=1}" "${HOST:=localhost}" "${PORT:=29500}"
exec torchrun --nnodes "$NODES" --nproc-per-node "$GPUS" --rdzv-backend c10d \
    --rdzv-endpoint "$HOST:$PORT" --rdzv-id "ladder-$stage" \
    -m ladder.cli.main train "$stage" --profile paper \
    cluster.strategy="$STRATEGY" cluster.devices="$GPUS" cluster.nodes="$NODES" "$@"
