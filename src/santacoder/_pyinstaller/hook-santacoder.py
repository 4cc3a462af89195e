"""Read by PyInstaller: a frozen program takes the packaged model along, which no import tells of."""

from PyInstaller.utils.hooks import collect_data_files

datas = collect_data_files("santacoder", includes=["models/*.gguf"])
