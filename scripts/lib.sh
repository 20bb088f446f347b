# Shared by the scripts beside it: where we are, how we complain, and one place for index and certificate settings.

cd "$(dirname "$0")/.."
root=$PWD

say() { printf '%s\n' "$*"; }

stop() {
  printf '%s\n' "$*" >&2
  exit 1
}

# uv has settings of its own. Where only pip's are given, uv follows them, so that a mirror or a company's
# certificate needs to be named once. Proxies need nothing: both read HTTPS_PROXY.
if [ -z "${UV_DEFAULT_INDEX:-}" ] && [ -z "${UV_INDEX_URL:-}" ] && [ -n "${PIP_INDEX_URL:-}" ]; then
  export UV_DEFAULT_INDEX="$PIP_INDEX_URL"
fi
if [ -z "${SSL_CERT_FILE:-}" ] && [ -n "${PIP_CERT:-}" ]; then
  export SSL_CERT_FILE="$PIP_CERT"
fi
export UV_PYTHON_DOWNLOADS=never
# Another project's environment, active in this shell, must neither be used nor be changed.
unset VIRTUAL_ENV
