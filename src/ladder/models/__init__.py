"""The ladder: a frozen MLLM whose layers feed the blocks of a generator."""
