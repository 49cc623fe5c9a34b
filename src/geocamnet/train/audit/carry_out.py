"""What `prepare --audit` does to the list of photographs; the originals are not touched."""

from collections import Counter
from dataclasses import replace

from geocamnet.errors import DataError
from geocamnet.taxonomy import canonical_name
from geocamnet.train.audit.table import Actions
from geocamnet.train.sources import Source


def carry_out(source: Source, actions: Actions) -> tuple[Source, dict[str, int]]:
    """Return the photographs as a table asks for them, and how many it changed.

    Dropped photographs are listed among the skipped; merged labels replace those of RAW. Crops and groups change no
    list: `prepare` takes them from the actions. What was done is said in the notes.

    Args:
        source: the photographs of RAW.
        actions: see `table.read_actions`; without any, the source is returned as it is.

    Returns:
        The source, and a count for each of ``dropped``, ``merged``, ``cropped``, ``grouped``, ``groups`` and
        ``not_found``; empty without actions.

    Raises:
        DataError: the table names none of the photographs, or nothing is left.
    """
    if actions == Actions():
        return source, {}
    named = actions.drop | set(actions.labels) | set(actions.crop) | set(actions.group)
    there = {one.path for one in source.photographs}
    if not named & there:
        raise DataError(
            f"The audit names none of these {len(there)} photographs; its first: {min(named)}, theirs: {min(there)}. "
            "Audit the same RAW, or leave --audit out."
        )
    labels = {path: tuple(sorted(map(canonical_name, names))) for path, names in actions.labels.items()}
    kept, skipped, merged = [], list(source.skipped), 0
    for one in source.photographs:
        if one.path in actions.drop:
            skipped.append((one.path, "dropped, as the audit says"))
            continue
        new = labels.get(one.path, one.labels)
        merged += new != one.labels
        kept.append(replace(one, labels=new))
    if not kept:
        raise DataError("The audit drops every photograph. Delete lines with the action drop from audit.csv.")
    left = {one.path for one in kept}
    members = Counter(name for path in left for name in actions.group.get(path, ()))
    groups = {name for name, count in members.items() if count > 1}
    changes = {
        "dropped": len(source.photographs) - len(kept),
        "merged": merged,
        "cropped": sum(any(actions.crop.get(path, ())) for path in left),
        "grouped": sum(bool(groups & set(actions.group.get(path, ()))) for path in left),
        "groups": len(groups),
        "not_found": len(named - there),
    }
    note = (
        f"Audit carried out: {changes['dropped']} photograph(s) dropped, {changes['merged']} given other labels, "
        f"{changes['cropped']} cropped, {changes['grouped']} kept together in {changes['groups']} group(s). Undo it by "
        "preparing without --audit."
    )
    notes = [*source.notes, note]
    if changes["not_found"]:
        notes.append(
            f"{changes['not_found']} photograph(s) of the audit are not there, the first: {min(named - there)}."
        )
    return replace(source, photographs=tuple(kept), notes=tuple(notes), skipped=tuple(skipped)), changes
