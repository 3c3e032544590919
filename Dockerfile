# One image for every role: the chief, the workers and the one-shot services of compose.yaml.
#
#   docker build -t keras-tuning-cluster:local .
#   docker build -t keras-tuning-cluster:local-gpu --build-arg 'TENSORFLOW=tensorflow[and-cuda]' .
#
# The stages are cut by how often their input changes, so that an edit in cluster/ or fashion/ copies some small
# files and never installs TensorFlow again:
#
#   requirements   what pyproject.toml asks for, as a list   (changes with pyproject.toml)
#   dependencies   that list, installed into /opt/venv       (changes with the list or requirements.lock)
#   wheel          this repository as a wheel                (changes with the code)
#   (the image)    /opt/venv with the wheel; no compiler, no build tools, no root

FROM python:3.13-slim AS base
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_ROOT_USER_ACTION=ignore


FROM base AS requirements
# Which extras of pyproject.toml the image holds, beside TensorFlow: names with commas between.
ARG EXTRAS=ui
# The list is a file of its own because BuildKit caches by content: when pyproject.toml changes and the list does not
# (a lint rule, the version), the next stage is taken from the cache.
COPY pyproject.toml /
RUN python -c 'import sys, tomllib; \
        project = tomllib.load(open("/pyproject.toml", "rb"))["project"]; \
        extras = [project["optional-dependencies"][name] for name in sys.argv[1].split(",") if name]; \
        print(*sum(extras, project["dependencies"]), sep="\n")' "$EXTRAS" > /requirements.txt


FROM base AS dependencies
# The requirement that brings TensorFlow: tensorflow-cpu, or tensorflow[and-cuda] for NVIDIA GPUs.
ARG TENSORFLOW=tensorflow-cpu
# Without pip of its own: the image's pip installs into it.
RUN python -m venv --without-pip /opt/venv
COPY requirements.lock /
COPY --from=requirements /requirements.txt /
# Headers and clang bindings serve only those who compile operations for TensorFlow: 350 MB that nothing here imports.
RUN --mount=type=cache,target=/pip \
    pip --cache-dir /pip --python /opt/venv/bin/python install -r /requirements.txt -c /requirements.lock "$TENSORFLOW" \
    && rm -rf /opt/venv/lib/python3*/site-packages/tensorflow/include /opt/venv/lib/python3*/site-packages/clang


FROM base AS wheel
# With the build backend at hand, a change of the code needs no package index.
COPY requirements.lock /
RUN --mount=type=cache,target=/pip python -m venv --without-pip /opt/build \
    && pip --cache-dir /pip --python /opt/build/bin/python install -c /requirements.lock setuptools
WORKDIR /source
COPY . .
RUN pip --python /opt/build/bin/python wheel --no-deps --no-build-isolation --no-cache-dir --wheel-dir /wheels .


FROM base
COPY --from=dependencies /opt/venv /opt/venv
# HOME and the working directory are open to every user id, since `docker run --user` and CLUSTER_UID may name any.
# A named volume mounted at /workspace, /slots or /scratch takes over its mode. LOGNAME is for programs that ask who they are: such a user
# id has no entry in /etc/passwd.
ENV PATH=/opt/venv/bin:$PATH \
    HOME=/home/cluster \
    LOGNAME=cluster \
    KERAS_HOME=/home/cluster/.keras \
    MPLCONFIGDIR=/home/cluster/.matplotlib \
    PYTHONUNBUFFERED=1
# Keras imports Matplotlib, which would look for the fonts again in every container: half a second of each start.
RUN install -d -m 1777 "$HOME" "$KERAS_HOME" "$MPLCONFIGDIR" /workspace /slots /scratch \
    && if python -c 'import matplotlib' 2>/dev/null; then python -c 'import matplotlib.font_manager'; fi
RUN --mount=type=bind,from=wheel,source=/wheels,target=/wheels \
    pip --python /opt/venv/bin/python install --no-deps --no-index --no-cache-dir /wheels/*.whl
WORKDIR /workspace
USER 1000:1000
ENTRYPOINT ["cluster"]
