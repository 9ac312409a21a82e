# The product as one image: `serve` by default, `work`, `migrate` and the rest by command.

FROM python:3.11-slim-bookworm AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
WORKDIR /source
# The locks first: the layer with the dependencies is built again only when they change.
COPY requirements/run.txt requirements/build.txt requirements/
RUN python -m venv /opt/build \
    && /opt/build/bin/pip install --require-hashes -r requirements/build.txt \
    && python -m venv /opt/rapport \
    && /opt/rapport/bin/pip install --require-hashes -r requirements/run.txt
COPY pyproject.toml LICENSE README.md ./
COPY domain domain
COPY projections projections
COPY infra infra
COPY api api
RUN /opt/build/bin/pip wheel --no-deps --no-build-isolation --wheel-dir dist . \
    && /opt/rapport/bin/pip install --no-deps --no-index dist/*.whl

FROM python:3.11-slim-bookworm
# The number is fixed, so that the owner of a volume stays the same from image to image.
RUN useradd --uid 10001 --create-home --home-dir /var/lib/rapport --shell /usr/sbin/nologin rapport \
    && chmod 0700 /var/lib/rapport
COPY --from=build /opt/rapport /opt/rapport
ENV PATH=/opt/rapport/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    RAPPORT_HOME=/var/lib/rapport \
    RAPPORT_HOST=0.0.0.0
USER 10001
WORKDIR /var/lib/rapport
VOLUME /var/lib/rapport
EXPOSE 8000
# urlopen raises, and so exits 1, on a refused connection and on every answer from 400 up.
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 \
    CMD ["python", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:8000/health/live', timeout=4)"]
ENTRYPOINT ["rapport"]
CMD ["serve"]
