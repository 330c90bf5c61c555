"""The clients that are measured, one in a process: `python -m bench.clients.NAME JOB`, JOB in JSON.

Each prints one line of JSON, the fields of `measure.Result`. The two of Node are in bench/node/.
"""
