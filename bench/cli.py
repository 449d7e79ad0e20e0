"""`biaoshi bench …`: the operator's benchmarks."""

from __future__ import annotations

import typer

from bench import compare, corpus, growth, locust_command, report, saturate

app = typer.Typer(help="Benchmarks: what a lookup costs, and how many a node can answer.")
app.command("saturate")(saturate.saturate)
app.command("compare")(compare.compare)
app.command("locust")(locust_command.locust)
app.command("growth")(growth.growth)
app.command("report")(report.report)
app.command("corpus")(corpus.main)

if __name__ == "__main__":
    app()
