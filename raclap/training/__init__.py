"""Objectives and the one loop that train.py and distill.py share."""
