"""Tests of the flagship program, one module for each of its own."""
