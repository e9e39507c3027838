"""The sub-commands of tools/benchmark.py and what they share: interleaved timing, machine facts, the CSV file."""
