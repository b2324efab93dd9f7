#!/usr/bin/env bash
# Make sure that the system packages are there: `run` for working, `test` for the tests as well.
# Installs them by apt where it may; else says what is missing and ends with 1.
set -euo pipefail

declare -A NEEDED=(
  [tesseract]="tesseract-ocr"
  [/usr/share/tesseract-ocr/*/tessdata/eng.traineddata]="tesseract-ocr-eng"
  [/usr/share/tesseract-ocr/*/tessdata/osd.traineddata]="tesseract-ocr-osd"
  [/usr/share/fonts/truetype/liberation*/LiberationSans-Regular.ttf]="fonts-liberation"
  [/usr/share/fonts/truetype/dejavu/DejaVuSans.ttf]="fonts-dejavu-core"
  [/usr/share/fonts/truetype/freefont/FreeMono.ttf]="fonts-freefont-ttf"
)
if ! python3 -c 'import venv, ensurepip' 2>/dev/null; then
  NEEDED[missing-python-venv]="python3-venv"
fi
if [ "${1:-run}" = test ]; then
  NEEDED+=(
    [pdftotext]="poppler-utils"
    [tiffinfo]="libtiff-tools"
    [java]="default-jre-headless"
    [mvn]="maven"
    [/usr/lib/postgresql/*/bin/postgres]="postgresql"
    [redis-server]="redis-server"
    [/usr/lib/rabbitmq/bin/rabbitmq-server]="rabbitmq-server"
    [chromium]="chromium"
    [npm]="npm"
  )
fi

present() {
  case $1 in
    /*) compgen -G "$1" >/dev/null ;;
    *) command -v "$1" >/dev/null ;;
  esac
}

missing=()
for what in "${!NEEDED[@]}"; do
  present "$what" || missing+=("${NEEDED[$what]}")
done
[ ${#missing[@]} -eq 0 ] && exit 0

asroot=()
if [ "$(id -u)" -ne 0 ]; then
  if sudo -n true 2>/dev/null; then asroot=(sudo -n); else asroot=(false); fi
fi
if command -v apt-get >/dev/null && [ "${asroot[*]:-}" != false ]; then
  echo "Installing ${missing[*]}"
  "${asroot[@]}" apt-get update -qq
  DEBIAN_FRONTEND=noninteractive "${asroot[@]}" apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
  exit 0
fi
echo "These system packages are missing (names of Debian and Ubuntu):"
printf '  %s\n' "${missing[@]}"
echo "Install them and try again, for instance: sudo apt-get install ${missing[*]}"
exit 1
