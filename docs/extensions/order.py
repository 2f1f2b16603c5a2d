"""Order of the examples."""

from sphinx_gallery.sorting import FileNameSortKey


class StartFirst(FileNameSortKey):
    """By name, but the first steps first."""

    def __call__(self, filename):
        return filename != "plot_getting_started.py", filename
