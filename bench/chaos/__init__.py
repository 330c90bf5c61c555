"""Chaos on real processes: bridges, their ledger, Alertmanagers, an APNs and phones, and faults between them.

`world` starts everything; `alerts` lets alerts fire and end; `faults` are what can go wrong, `driver` lets
it go wrong; `verdict` says what must be true afterwards.
"""
