"""What a run of the bench is to do, from its command line."""
import dataclasses


def planned(cls, options, short):
    """Return the plan, a *cls*, that *options* of the command line ask for.

    *short* is what the short form does otherwise, where they do not say.
    """
    chosen = dict(short) if options.short else {}
    for field in dataclasses.fields(cls):
        value = getattr(options, field.name, None)
        if value is not None:
            chosen[field.name] = value
    return cls(**chosen)
