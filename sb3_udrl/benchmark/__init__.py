"""
Algorithms x environments x seeds, trained and evaluated in one and the same way (extra ``benchmark``).

``python -m sb3_udrl.benchmark SUITE`` runs a suite, ``python -m sb3_udrl.benchmark.report FOLDER`` writes the report.
"""
