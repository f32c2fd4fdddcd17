import { TimeZone } from 'aws-cdk-lib';
import { Schedule, ScheduleExpression, ScheduleGroup, ScheduleTargetInput } from 'aws-cdk-lib/aws-scheduler';
import { StepFunctionsStartExecution } from 'aws-cdk-lib/aws-scheduler-targets';
import type { StateMachine } from 'aws-cdk-lib/aws-stepfunctions';
import { Construct } from 'constructs';
import type { Settings } from './settings.ts';

/**
 * Runs that start by themselves. Scheduler names each execution anew (two UUIDs, 73 characters), and the execution's name
 * is the run's id, so a start never resumes an earlier run.
 */
export class Schedules extends Construct {
  readonly group: ScheduleGroup;

  constructor(scope: Construct, id: string, schedules: Settings['schedules'], machine: StateMachine) {
    super(scope, id);
    this.group = new ScheduleGroup(this, 'Group');
    for (const { name, expression, timezone, event } of schedules) {
      new Schedule(this, name, {
        scheduleGroup: this.group,
        description: `vecferry: ${name}`,
        schedule: ScheduleExpression.expression(expression, TimeZone.of(timezone)),
        target: new StepFunctionsStartExecution(machine, { input: ScheduleTargetInput.fromObject(event) }),
      });
    }
  }
}
