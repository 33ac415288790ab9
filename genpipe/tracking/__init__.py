"""Tracking: a journal of what happened in each run, and what sends journals to MLflow.

The journal is on disk before anything is sent, so a tracker that is down loses nothing and delays nothing.
"""
