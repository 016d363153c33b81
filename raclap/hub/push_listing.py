"""A plan of a push, in words: for a dry run, and before anything is sent."""

from tqdm import tqdm

from raclap.hub.push_plan import Plan


def destination(plan: Plan) -> str:
    """What the plan knows of the repository."""
    if plan.remote is None:
        return f"which was not compared ({plan.not_seen})"
    if not plan.remote.exists:
        return "a new repository" + (", private" if plan.target.private else "")
    if plan.target.create_pr:
        return "as a pull request"
    new = "" if plan.target.branch in plan.remote.branches else "new "
    return f"{new}branch {plan.target.branch}"


def listing(plan: Plan) -> str:
    """One line for each file, with its size and how it travels as a rule (the Hub decides in the end), and a total."""
    lines = [f"  {_bytes(file.size):>8}  {way:<13}  {file.name}" for file, way in _ways(plan)]
    for names, way in ((plan.delete, "deleted"), (plan.keep, "stays there"), (plan.left_out, "left out")):
        lines += [f"  {'':>8}  {way:<13}  {name}" for name in names]
    large = [file.size for file in plan.send if file.goes_by_lfs]
    lines.append(
        f"{len(plan.files)} files, {_bytes(sum(file.size for file in plan.files))}; to send: {len(plan.send)}, "
        f"{_bytes(sum(file.size for file in plan.send))}, of which {_bytes(sum(large))} by LFS; "
        f"to delete: {len(plan.delete)}"
    )
    return "\n".join(lines)


def _ways(plan: Plan) -> list[tuple]:
    sending = set(plan.send)
    return [
        (file, "unchanged" if file not in sending else "LFS" if file.goes_by_lfs else "in the commit")
        for file in plan.files
    ]


def _bytes(size: int) -> str:
    return tqdm.format_sizeof(size, suffix="B")
