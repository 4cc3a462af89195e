# santacoder serve, as a user without rights, on a file system that is only read: docs/howto/server-deploy.md says how to run it.
FROM python:3.13-slim AS build
# hadolint ignore=DL3008 # the compiler of the base image's release, whichever that is; it is not in the result
RUN apt-get update \
    && apt-get install -y --no-install-recommends gcc libc6-dev \
    && rm -rf /var/lib/apt/lists/*
COPY . /source
RUN pip wheel --no-cache-dir --wheel-dir /wheels '/source[serve]'

FROM python:3.13-slim
# hadolint ignore=DL3013 # the versions are those of the first stage
RUN --mount=type=bind,from=build,source=/wheels,target=/wheels \
    pip install --no-cache-dir --no-index --find-links /wheels 'santacoder[serve]'
# A number, so that Kubernetes can tell that it is not root.
USER 65534:65534
VOLUME /models
EXPOSE 8012
HEALTHCHECK --interval=30s --timeout=6s --start-period=60s \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8012/health', timeout=5)"]
ENTRYPOINT ["santacoder", "serve", "--host", "0.0.0.0", "--api-key-file", "/run/secrets/keys"]
CMD ["--model", "/models/model.gguf"]
