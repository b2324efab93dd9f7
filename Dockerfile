# One image for every process of Platen. Debian 13 carries Tesseract and jbig2 as packages.
FROM debian:13-slim

RUN apt-get update \
    && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends \
        python3 python3-venv tesseract-ocr tesseract-ocr-eng tesseract-ocr-osd jbig2 postgresql-client \
        fonts-liberation fonts-dejavu-core fonts-freefont-ttf tini \
    && rm -rf /var/lib/apt/lists/*

RUN useradd --system --uid 10001 --create-home platen
WORKDIR /opt/platen
COPY requirements.lock pyproject.toml README.md ./
RUN python3 -m venv .venv \
    && .venv/bin/python -m pip install --no-cache-dir --no-deps --require-hashes -r requirements.lock
COPY stages ./stages
COPY pipeline ./pipeline
COPY workers ./workers
COPY console ./console
COPY profiles ./profiles
COPY docs/holds.md ./docs/holds.md
COPY fixtures ./fixtures
RUN .venv/bin/python -m pip install --no-cache-dir --no-build-isolation --no-deps --editable . \
    && install --directory --owner platen --group platen /home/platen/bureau

USER platen
ENV PATH=/opt/platen/.venv/bin:$PATH \
    PLATEN_HOME=/home/platen/bureau \
    OMP_THREAD_LIMIT=1
# tini hands signals on and takes away what dead children leave
ENTRYPOINT ["/usr/bin/tini", "--"]
CMD ["platen", "doctor"]
