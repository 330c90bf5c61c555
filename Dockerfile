# syntax=docker/dockerfile:1
# Debian 12 with Python 3.11; any base with python3 and venv will do (tests/test_image.py uses another).
ARG BASE=python:3.11-slim-bookworm

FROM ${BASE} AS build
WORKDIR /src
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
# First what seldom changes: the packages, each with its hash.
COPY requirements-build.lock requirements-runtime.lock ./
RUN python3 -m venv /build \
    && /build/bin/pip install --no-deps --require-hashes -r requirements-build.lock \
    && python3 -m venv --without-pip /opt/pushkit-bridge \
    && /build/bin/pip --python /opt/pushkit-bridge/bin/python install \
        --no-deps --require-hashes -r requirements-runtime.lock
COPY pyproject.toml README.md LICENSE ./
COPY bridge ./bridge
RUN /build/bin/pip wheel --no-deps --no-build-isolation --wheel-dir /wheels . \
    && /build/bin/pip --python /opt/pushkit-bridge/bin/python install --no-deps /wheels/*.whl

FROM ${BASE}
LABEL org.opencontainers.image.title="pushkit-bridge" \
      org.opencontainers.image.description="Alertmanager webhooks in, a ringing iPhone out" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --from=build /opt/pushkit-bridge /opt/pushkit-bridge
# Without a name: the number is what an orchestrator's "run as non-root" checks.
RUN install -d -o 65532 -g 65532 /var/lib/pushkit-bridge
ENV PATH=/opt/pushkit-bridge/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1
USER 65532:65532
# The database; with it on a volume the root file system may be read-only.
VOLUME /var/lib/pushkit-bridge
WORKDIR /var/lib/pushkit-bridge
# Alertmanager and management; the phones.
EXPOSE 9095 9096
HEALTHCHECK --interval=15s --timeout=5s --start-period=20s --retries=3 CMD ["pushkit-bridge", "healthcheck"]
ENTRYPOINT ["pushkit-bridge"]
CMD ["serve", "--config.file=/etc/pushkit-bridge/config.yaml"]
