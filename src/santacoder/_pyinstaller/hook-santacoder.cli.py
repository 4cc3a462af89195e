"""Read by PyInstaller: the command imports the modules of its subcommands by name."""

from PyInstaller.utils.hooks import collect_submodules

hiddenimports = collect_submodules("santacoder.cli")
