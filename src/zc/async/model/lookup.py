"""Looking things up in a collection that keeps them in a tree."""


class Lookup:
    """The reading half of a mapping over ``_data``."""

    def get(self, name, default=None):
        """Return what is kept as *name*, or *default*."""
        return self._data.get(name, default)

    def __getitem__(self, name):
        return self._data[name]

    def __contains__(self, name):
        return name in self._data

    def __iter__(self):
        return iter(self._data)

    def keys(self):
        """Return the names, in order."""
        return self._data.keys()

    def values(self):
        """Return what is kept, in the order of the names."""
        return self._data.values()

    def items(self):
        """Return the pairs of both."""
        return self._data.items()
