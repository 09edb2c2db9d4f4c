#!/usr/bin/env node
import * as cdk from 'aws-cdk-lib/core';
import { JobsStack } from '../lib/jobs-stack';

new JobsStack(new cdk.App(), 'LeaseholdExample');
