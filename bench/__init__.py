"""Benches: speed and memory shown by figures (medians, spread, CPU per item), never by a timed test."""
