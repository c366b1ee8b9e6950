#!/bin/sh
# Installs the exchange into a folder of its own, from the files beside this script and from nowhere else: no network is
# used. Every file is checked against SHA256SUMS, every wheel once more against the hashes in requirements.txt.
# usage: sh install.sh DIR      (PYTHON=/path/to/python chooses another Python than the first fitting one)
set -eu
wanted=@PYTHON@ system=@SYSTEM@ machine=@MACHINE@
here=$(cd -- "$(dirname -- "$0")" && pwd)

fail() {
    echo "install.sh: $2" >&2
    exit "$1"
}

[ $# -eq 1 ] && [ -n "$1" ] || fail 2 "usage: sh install.sh DIR, a folder that is not there yet or empty
install.sh: 用法：sh install.sh 目录（尚不存在或为空）"
target=$1
if [ -e "$target" ] && { [ ! -d "$target" ] || [ -n "$(ls -A -- "$target")" ]; }; then
    fail 2 "$target is not empty: name a new folder
install.sh: $target 不是空的，请指定新目录"
fi

# Compiled wheels fit one version of Python on one kind of machine.
about='import platform, sys; print("%d.%d" % sys.version_info[:2], sys.platform, platform.machine())'
python='' seen=''
for one in ${PYTHON:+"$PYTHON"} "python$wanted" python3 python; do
    found=$("$one" -c "$about" 2>/dev/null) || continue
    if [ "$found" = "$wanted $system $machine" ]; then
        python=$one
        break
    fi
    seen="$seen $one ($found)"
    [ -z "${PYTHON:-}" ] || break
done
[ -n "$python" ] || fail 3 "needs Python $wanted for $system $machine (the exchange itself runs on 3.11 and newer); found:${seen:- none}
install.sh: 需要 $system $machine 上的 Python $wanted（本程序支持 3.11 及以上）；现有：${seen:- 无}"

"$python" - "$here" <<'PYTHON' || fail 4 "a file is not what SHA256SUMS says: fetch it again, install nothing
install.sh: 有文件与 SHA256SUMS 不符：请重新获取，切勿安装"
import hashlib, pathlib, sys

here = pathlib.Path(sys.argv[1])
listed = dict(reversed(line.split("  ", 1)) for line in (here / "SHA256SUMS").read_text("utf-8").splitlines())
there = {file.relative_to(here).as_posix() for file in here.rglob("*") if file.is_file()} - {"SHA256SUMS"}
wrong = sorted(there ^ listed.keys())
wrong += [name for name in sorted(there & listed.keys())
          if hashlib.sha256((here / name).read_bytes()).hexdigest() != listed[name]]
for name in wrong:
    print(f"install.sh: {name}", file=sys.stderr)
sys.exit(1 if wrong else 0)
PYTHON

# What is half installed is taken away again.
trap 'code=$?; [ "$code" -eq 0 ] || rm -rf -- "$target"' EXIT
trap 'exit 130' INT TERM
echo "installing into $target ... 正在安装"
"$python" -m venv -- "$target" || fail 3 "Python cannot make a venv: install its venv module (python$wanted-venv)
install.sh: Python 无法建立虚拟环境：请安装其 venv 模块（python$wanted-venv）"
# Whatever pip is set up with on this machine is left out of it.
export PIP_CONFIG_FILE=/dev/null
pip() {
    "$target/bin/python" -m pip --isolated --disable-pip-version-check install --quiet --no-index "$@"
}
pip --find-links "$here/wheels" --require-hashes --only-binary :all: -r "$here/requirements.txt"
pip --no-deps "$here"/exchange-*.whl
version=$("$target/bin/exchange" --version)
cat <<END

$version
  export PATH="$(cd -- "$target" && pwd)/bin:\$PATH"
  exchange init DIR --sample    a site to play with, all made up        样例站点，数据均为合成
  exchange demo DIR             the main job played, with a report      演示主流程并生成报告
  exchange init DIR             a site of one's own                     建立正式站点
  exchange --help
END
