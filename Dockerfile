# Two stages: the first has the build tools, the second only Python and the installed package.
ARG PYTHON=python:3.12-slim

FROM ${PYTHON} AS build
WORKDIR /src
RUN python3 -m venv /opt/prewarm
COPY requirements/run.txt requirements/build.txt requirements/
RUN /opt/prewarm/bin/python -m pip install --no-cache-dir --disable-pip-version-check --require-hashes -r requirements/run.txt
RUN python3 -m venv /opt/build \
 && /opt/build/bin/python -m pip install --no-cache-dir --disable-pip-version-check --require-hashes -r requirements/build.txt
COPY pyproject.toml README.md LICENSE ./
COPY prewarm prewarm
COPY models models
COPY data/samples data/samples
RUN /opt/build/bin/python -m pip wheel --no-cache-dir --no-deps --no-build-isolation --wheel-dir /wheels . \
 && /opt/prewarm/bin/python -m pip install --no-cache-dir --no-deps /wheels/*.whl

FROM ${PYTHON}
LABEL org.opencontainers.image.title="prewarm" \
      org.opencontainers.image.description="Forecasts image pulls from registry logs and warms caches before them" \
      org.opencontainers.image.licenses="Apache-2.0"
RUN mkdir -p /lake && chown 10001:10001 /lake
COPY --from=build /opt/prewarm /opt/prewarm
ENV PATH=/opt/prewarm/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PREWARM_LAKE=/lake
USER 10001:10001
WORKDIR /lake
VOLUME /lake
EXPOSE 8080
# The service binds loopback unless told otherwise, and any other bind needs tokens: see docs/how-to/service.md.
ENTRYPOINT ["prewarm"]
CMD ["--help"]
