# Build it:  docker build -t sockjs-bridge .
# Run it:    README.md, "In a container", and config/docker/compose.yaml
ARG PYTHON_IMAGE=python:3.13-slim-bookworm

# --- the program and its packages, in a folder that is complete in itself ---
FROM ${PYTHON_IMAGE} AS build
WORKDIR /build
# No index is named here: pip's own settings say where packages come from. The hashes say which ones. Wheels only,
# since nothing here could compile a package. --no-deps because the locks are complete, and nothing is to be resolved.
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_NO_INPUT=1 PIP_ROOT_USER_ACTION=ignore PIP_NO_DEPS=1
# The packages come first: they are in the build cache as long as the locks stay as they are.
COPY .ci/requirements-build.txt .ci/requirements-image.txt ./
RUN ["python", "-m", "pip", "install", "--require-hashes", "--only-binary", ":all:", "-r", "requirements-build.txt"]
RUN ["python", "-m", "venv", "--without-pip", "/opt/sockjs-bridge"]
RUN ["python", "-m", "pip", "--python", "/opt/sockjs-bridge", "install", "--require-hashes", "--only-binary", ":all:", "-r", "requirements-image.txt"]
COPY pyproject.toml README.md LICENSE ./
COPY sockjs_bridge sockjs_bridge
RUN python -m pip wheel --no-build-isolation --wheel-dir wheel . \
    && python -m pip --python /opt/sockjs-bridge install --no-index wheel/*.whl

# --- what runs ---
FROM ${PYTHON_IMAGE}
LABEL org.opencontainers.image.title="sockjs-bridge" \
      org.opencontainers.image.description="Keeps SockJS sessions alive and hands their messages to local programs over plain sockets" \
      org.opencontainers.image.licenses="MIT"
# The base has its standard library without bytecode, and at run time nothing can write any: then each start, and each
# health check, would compile it anew. The folders are for Unix sockets and for a cookie file; a new named volume
# takes over their owner.
RUN python -m pip uninstall --yes --quiet --root-user-action=ignore pip \
    && python -m compileall -q -x '/(site-packages|ensurepip|idlelib|lib2to3|pydoc_data|test|tkinter|turtledemo)/' \
        "$(python -c 'import sysconfig; print(sysconfig.get_path("stdlib"))')" \
    && install -d -o 65532 -g 65532 /run/sockjs-bridge /var/lib/sockjs-bridge
COPY --from=build /opt/sockjs-bridge /opt/sockjs-bridge
COPY config/docker/bridge.toml /etc/sockjs-bridge/bridge.toml
# The health check asks the admin listener. This variable goes over what a mounted file says; it can be set again.
ENV PATH=/opt/sockjs-bridge/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 \
    SOCKJS_BRIDGE_ADMIN__LISTEN=127.0.0.1:9180
# A number and no name, so that Kubernetes can see that it is not root.
USER 65532:65532
WORKDIR /var/lib/sockjs-bridge
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=6s --start-period=10s --retries=3 CMD ["sockjs-bridge", "healthcheck"]
ENTRYPOINT ["sockjs-bridge"]
CMD ["--config", "/etc/sockjs-bridge/bridge.toml"]
