"""Training data: from raw shards of others to batches, with an account of every sample.

raw shards --sources--> records --curate--> our shards --encode--> latents --loading--> batches
"""
