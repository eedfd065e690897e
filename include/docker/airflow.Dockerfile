# ImageSys on Airflow: one image for api-server, scheduler, dag-processor, triggerer and worker.
FROM debian:bookworm-slim

RUN apt-get update \
    && apt-get install -y --no-install-recommends \
        ca-certificates curl default-libmysqlclient-dev gcc libc6-dev openssh-client pkg-config \
        python3 python3-dev python3-pip python3-venv rsync tini \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --create-home --uid 50000 airflow

WORKDIR /opt/imagesys
COPY requirements.lock include/docker/requirements-compose.txt ./
RUN python3 -m venv /opt/venv \
    && /opt/venv/bin/pip install --no-cache-dir --require-hashes -r requirements.lock \
    && /opt/venv/bin/pip install --no-cache-dir -c requirements.lock -r requirements-compose.txt

COPY pyproject.toml README.md ./
COPY imagesys_lib imagesys_lib
COPY plugins plugins
COPY dags dags
COPY include/countries.yaml include/countries.yaml
RUN /opt/venv/bin/pip install --no-cache-dir --no-deps --no-build-isolation -e . \
    && mkdir -p /opt/airflow/logs /var/lib/imagesys/staging /var/lib/imagesys/state \
    && chown -R airflow /opt/airflow /var/lib/imagesys

ENV PATH=/opt/venv/bin:$PATH AIRFLOW_HOME=/opt/airflow
USER airflow
ENTRYPOINT ["tini", "--"]
