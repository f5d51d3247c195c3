# Every target sets up what it needs: a virtual environment in .venv and, on Linux, the system's OpenGL libraries.

VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.breastcmsl-installed

# make PYTHON=/path/to/python3: the Python to make the environment with
PYTHON ?=
# make TORCH_INDEX=URL: a further package index, for the CPU build of PyTorch on Linux (pytorch.org names it)
TORCH_INDEX ?=
# make HASHES=no: do not compare the packages with hashes/, where an index has other wheels than the package index of Python
HASHES ?= yes
# make SYSTEM_CHECK=no: leave the system's libraries alone and unchecked
SYSTEM_CHECK ?= yes
# make test PYTEST_ARGS="-k dicom": further options for pytest
PYTEST_ARGS ?=
# make serve FOLDER=exams: a folder with a folder for each exam, or one exam
# make faults FAULTS="--seed 7 --resume" KILLS="--seed 7": further options for both campaigns; -m Testing.faults --help lists them
FAULTS ?=
KILLS ?=
# make worklists BATCH_KILLS="--kills 0 --workers 1": further options; python -m Testing.batch_kills --help lists them
BATCH_KILLS ?=
# make pacs-faults PACS_FAULTS="--seed 7": further options; python -m Testing.pacs_faults --help lists them
PACS_FAULTS ?=
# make test-slicer SLICER_CORE=5.12.4.0: the versions of slicer-core to test on; constraints.txt pins one of them
SLICER_CORE ?= 5.11.0.6 5.12.4.0 5.13.31053.0

unexport PYTHONHOME PYTHONPATH
export PYTHON

# an environment that was made elsewhere, in a checkout since moved or copied, is installed again
ifneq ($(wildcard $(STAMP)),)
ifneq ($(shell cat $(STAMP)),$(CURDIR))
$(STAMP): moved
endif
endif

.DEFAULT_GOAL := help
.PHONY: help setup system moved demo serve serve-soak train-smoke compare-smoke faults soak worklists pacs pacs-faults benchmark benchmark-check screenshots sbom test test-slicer lint clean distclean

help:
	@echo "make demo       make a simulated breast MRI exam and analyse it; results in demo/result"
	@echo "make serve      the simulated exam in a browser on this computer; FOLDER= for your own exams"
	@echo "make test       check style and imports, and run all tests"
	@echo "make test-slicer  the tests of scene and module on three versions of slicer-core (five minutes each)"
	@echo "make train-smoke  simulate, preprocess, train, evaluate and export a tiny model: the whole path in about a minute"
	@echo "make compare-smoke  train and compare every method of Table 1 on 40 small exams: five minutes on two cores"
	@echo "make faults     10,000 bad inputs and 200 kills; counts in faults.json (about an hour); FAULTS=, KILLS= for options"
	@echo "make soak       500 analyses in one process and 100 through the module: does anything grow? (half an hour)"
	@echo "make worklists  tests of batches on a cluster, and a batch of 1,000 small exams killed ten times (fifteen minutes)"
	@echo "make pacs       tests of the DICOM node (a few minutes); with Orthanc and DCMTK where they are installed"
	@echo "make pacs-faults  3,000 damaged conversations with the node; counts in pacs_faults.json"
	@echo "make serve-soak  twenty analyses through the page in a browser: does anything grow? (ten minutes)"
	@echo "make benchmark  how fast each part is, beside the usual stack; table and benchmark.json (ten minutes)"
	@echo "make benchmark-check  tests that every part of the benchmark runs (a few minutes)"
	@echo "make screenshots  renew the pictures in Resources/Screenshots"
	@echo "make sbom       list every package that is installed for the project, as CycloneDX, in build/sbom.json"
	@echo "make lint       check style and imports only"
	@echo "make setup      only set up the virtual environment in $(VENV)"
	@echo "make clean      remove what demo, tests and builds left behind"
	@echo "make distclean  also remove $(VENV)"

setup: $(STAMP)

system:
ifneq ($(SYSTEM_CHECK),no)
	@python=$(BIN)/python; "$$python" -c "" 2>/dev/null || python=$$(sh scripts/find_python.sh) && \
		"$$python" scripts/system_packages.py --venv $(VENV)
endif

PIP_INSTALL := -m pip install --disable-pip-version-check
LIST := import platform, sys; print(f"hashes/{sys.platform}-{platform.machine()}-{sys.version_info[0]}.{sys.version_info[1]}.txt")

# $(call install_hashed,ENVIRONMENT): the packages that hashes/ has for this system. pip refuses an editable project
# beside hashes, so that they come first; the project then finds them there, and brings PyTorch alone
define install_hashed
	@list=$$($(1)/bin/python -c '$(LIST)'); if [ "$(HASHES)" != no ] && [ -f "$$list" ]; then \
		echo "Installing $$list" && $(1)/bin/python $(PIP_INSTALL) --require-hashes --no-deps -r "$$list"; \
	else echo "Installing without hashes ($$list): the versions alone are pinned"; fi
endef

# $(call install,ENVIRONMENT,CONSTRAINTS,FURTHER REQUIREMENTS): all of the project in a virtual environment
define install
	@$(1)/bin/python -c "import pip" 2>/dev/null || { \
		python=$$(sh scripts/find_python.sh) && echo "Making $(1) with $$python" && "$$python" -m venv --clear $(1); }
	$(if $(3),,$(call install_hashed,$(1)))
	$(1)/bin/python $(PIP_INSTALL) -c $(2) pip setuptools
	$(1)/bin/python $(PIP_INSTALL) --build-constraint $(2) -c $(2) \
		$(if $(TORCH_INDEX),--extra-index-url "$(TORCH_INDEX)") -e ".[slicer,dicom,train,test]" $(3)
	@printf '%s\n' "$(CURDIR)" > $@
endef

$(STAMP): pyproject.toml constraints.txt Resources/NiiVue/niivue.json $(wildcard hashes/*.txt) | system
	$(call install,$(VENV),constraints.txt)
	@$(BIN)/python scripts/niivue.py

# an environment of its own for each version of slicer-core, which names the version of VTK that it wants
build/slicer-%/.installed: pyproject.toml constraints.txt | system
	@mkdir -p $(@D)
	grep -vE '^(slicer-core|vtk)==' constraints.txt > build/constraints-$*.txt
	$(call install,$(@D),build/constraints-$*.txt,slicer-core==$*)
.PRECIOUS: build/slicer-%/.installed

demo: $(STAMP)
	rm -rf demo/exam demo/result
	$(BIN)/python training/simulate.py demo --output demo/exam
	$(BIN)/breastcmsl analyze demo/exam --output demo/result
	@echo
	@echo "The simulated exam (DICOM) is in $(CURDIR)/demo/exam, the results in $(CURDIR)/demo/result:"
	@ls -l demo/result
	@echo "Open report.html in a browser, scene.mrb in 3D Slicer. make serve shows the exam in a browser and analyses it there."

FOLDER ?= demo/exam
define install_serve
	$(BIN)/python $(PIP_INSTALL) --build-constraint constraints.txt -c constraints.txt -e ".[serve]" $(1)
	@[ "$(FOLDER)" != demo/exam ] || [ -d demo/exam ] || $(BIN)/python training/simulate.py demo --output demo/exam
endef

serve: $(STAMP)
	$(call install_serve)
	@$(BIN)/breastcmsl serve "$(FOLDER)"

serve-soak: $(STAMP)
	$(call install_serve,playwright)
	$(BIN)/python -m Testing.serve_soak "$(FOLDER)"

train-smoke: $(STAMP)
	rm -rf build/smoke
	$(BIN)/python training/train.py smoke --output build/smoke/run
	$(BIN)/python training/evaluate.py build/smoke/run --name smoke
	$(BIN)/breastcmsl model verify build/smoke/run/smoke.json

compare-smoke: $(STAMP)
	rm -rf build/compare
	$(BIN)/python training/compare.py --smoke --output build/compare

faults: $(STAMP)
	$(BIN)/python $(PIP_INSTALL) --build-constraint constraints.txt -c constraints.txt -e ".[faults]"
	$(BIN)/python -m Testing.faults --count 10000 --output faults.json $(FAULTS)
	QT_QPA_PLATFORM=offscreen $(BIN)/python -m Testing.faults.kills --count 200 --output faults.json $(KILLS)

soak: $(STAMP)
	QT_QPA_PLATFORM=offscreen $(BIN)/python -m Testing.soak --output soak.json

worklists: $(STAMP)
	$(BIN)/python $(PIP_INSTALL) --build-constraint constraints.txt -c constraints.txt -e ".[cluster,parquet]"
	QT_QPA_PLATFORM=offscreen $(BIN)/python -m pytest Testing/Python/test_batch.py
	$(BIN)/python -m Testing.batch_kills --output batch_kills.json $(BATCH_KILLS)

pacs: $(STAMP)
	$(BIN)/python $(PIP_INSTALL) --build-constraint constraints.txt -c constraints.txt -e ".[pacs]"
	@test -x /usr/sbin/Orthanc || echo "Real servers, for more tests: apt-get install orthanc orthanc-dicomweb dcmtk"
	QT_QPA_PLATFORM=offscreen $(BIN)/python -m pytest $(wildcard Testing/Python/test_pacs*.py)

pacs-faults: $(STAMP)
	$(BIN)/python $(PIP_INSTALL) --build-constraint constraints.txt -c constraints.txt -e ".[pacs]"
	$(BIN)/python -m Testing.pacs_faults --output pacs_faults.json $(PACS_FAULTS)

benchmark: $(STAMP)
	$(BIN)/python $(PIP_INSTALL) --build-constraint constraints.txt -c constraints.txt \
		$(if $(TORCH_INDEX),--extra-index-url "$(TORCH_INDEX)") -e ".[benchmark]"
	QT_QPA_PLATFORM=offscreen $(BIN)/python -m Testing.benchmark --output benchmark.json

benchmark-check: $(STAMP)
	QT_QPA_PLATFORM=offscreen $(BIN)/python -m pytest -m benchmark

screenshots: demo
	QT_QPA_PLATFORM=offscreen $(BIN)/python scripts/screenshots.py

sbom: $(STAMP)
	$(BIN)/python scripts/sbom.py --output build/sbom.json

lint: $(STAMP)
	$(BIN)/ruff check .
	PYTHONPATH=BreastCMSL $(BIN)/lint-imports --no-cache --no-logo

test: lint
	QT_QPA_PLATFORM=offscreen MPLBACKEND=Agg $(BIN)/python -m pytest -m "not benchmark" -n 2 --dist loadfile $(PYTEST_ARGS)

test-slicer: $(SLICER_CORE:%=test-slicer-%)

test-slicer-%: build/slicer-%/.installed
	QT_QPA_PLATFORM=offscreen MPLBACKEND=Agg build/slicer-$*/bin/python -m pytest -m slicer $(PYTEST_ARGS)

clean:
	rm -rf demo build dist *.egg-info .pytest_cache .ruff_cache .hypothesis
	find BreastCMSL BreastCMSLLib Testing training scripts examples -name __pycache__ -prune -exec rm -rf {} +

distclean: clean
	rm -rf $(VENV)
