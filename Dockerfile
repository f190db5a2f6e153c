# The PDP in a container: docs/deploy/README.md says how to build it, run it and renew the base.
# `tests/test_deploy.py` holds what is said here.

# By digest: a tag can be moved, and the build must not depend on the day. A digest that is wrong
# fails the build; it cannot name another image. Both stages have the same one.
FROM python:3.11-slim-trixie@sha256:da047cb8f9d1d98e5c070f5300ba9f7274e33b8fc0e5be5ed88740aed1b95ba9 AS build

ENV PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_NO_CACHE_DIR=1 \
    PIP_ROOT_USER_ACTION=ignore

WORKDIR /build

# First what changes seldom. Only wheels, only with the hashes of the locks: no package runs code
# while it is installed. The environment has no pip of its own.
COPY requirements/server.txt requirements/build.txt requirements/
RUN python -m venv --without-pip /opt/portcullis \
 && python -m pip --python /opt/portcullis/bin/python install --only-binary :all: \
      --require-hashes --no-deps --requirement requirements/server.txt \
 && python -m pip install --only-binary :all: \
      --require-hashes --no-deps --requirement requirements/build.txt

COPY pyproject.toml README.md LICENSE ./
COPY pdp/ pdp/
COPY clients/python/ clients/python/
RUN python -m pip wheel --no-deps --no-build-isolation --no-index --wheel-dir dist . \
 && python -m pip --python /opt/portcullis/bin/python install --no-deps --no-index dist/*.whl


FROM python:3.11-slim-trixie@sha256:da047cb8f9d1d98e5c070f5300ba9f7274e33b8fc0e5be5ed88740aed1b95ba9

LABEL org.opencontainers.image.title="portcullis" \
      org.opencontainers.image.description="A policy decision point whose every failure is a denial" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.base.name="python:3.11-slim-trixie"

# Nothing in the running image can install anything. State and records go to a volume: this folder
# gives a new one its owner. There is no VOLUME: it would make an unnamed volume for whoever forgot
# to name one, and the memory of revisions would be lost with it. Without a volume the read-only
# file system makes `pdp serve` refuse to start, and say why.
RUN python -m pip uninstall --yes --quiet --root-user-action=ignore setuptools wheel pip \
 && install --directory --owner=65532 --group=65532 --mode=0700 /var/lib/pdp

COPY --from=build /opt/portcullis/ /opt/portcullis/

ENV PATH=/opt/portcullis/bin:/usr/local/bin:/usr/bin:/bin \
    PDP_CONFIG=/etc/pdp/pdp.toml \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1

# A number, so that `runAsNonRoot` can be checked without reading the image's /etc/passwd.
USER 65532:65532
WORKDIR /var/lib/pdp
EXPOSE 8443
STOPSIGNAL SIGTERM

# No shell anywhere: signals reach the PDP itself, which is process 1. The check shows the PDP's own
# certificate, which for this must carry the DNS name `localhost` too.
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s --retries=3 CMD [ \
    "pdp", "health", "--target", "localhost:8443", "--timeout-ms", "3000", \
    "--trust-bundle", "/run/pdp/trust-bundle.pem", \
    "--certificate", "/run/pdp/svid.pem", "--key", "/run/pdp/svid.key"]
ENTRYPOINT ["pdp"]
CMD ["serve"]
