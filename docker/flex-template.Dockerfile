# A Dataflow Flex template: one image launches the job and runs on its workers, so that both have the same packages.
# Build it from the top of the checkout; which pipeline it runs is chosen by PIPELINE.
ARG LAUNCHER=gcr.io/dataflow-templates-base/python312-template-launcher-base:latest
ARG BEAM_SDK=apache/beam_python3.12_sdk:2.77.0

FROM ${LAUNCHER} AS launcher

FROM ${BEAM_SDK}
ARG PIPELINE=pubsub_to_splunk
COPY --from=launcher /opt/google/dataflow/python_template_launcher /opt/google/dataflow/python_template_launcher

WORKDIR /template
COPY pyproject.toml README.md ./
COPY core core
COPY connectors connectors
# Beam stays at the image's version: another one than the workers' boot program expects would break them.
RUN pip freeze | grep '^apache-beam==' > beam.txt \
    && pip install --no-cache-dir --constraint beam.txt ".[gcp]" \
    && pip check \
    && rm -rf core connectors
COPY pipelines/*.py ./

ENV FLEX_TEMPLATE_PYTHON_PY_FILE=/template/${PIPELINE}.py
# The workers' image has everything: nothing is to be downloaded when a job starts.
ENV PIP_NO_DEPS=True

ENTRYPOINT ["/opt/apache/beam/boot"]
